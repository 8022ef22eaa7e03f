#pragma once
// TensorBoard's event files, written without TensorFlow.
//
//   file    a sequence of records
//   record  length (u64), masked crc32c of its 8 bytes (u32), data, masked crc32c of the data (u32)
//   data    an Event of tensorflow/core/util/event.proto, in protobuf's encoding

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "core/log_file.h"
#include "model/metrics.h"

namespace moe {

// The checksum of a checksum that may stand in the data it guards: rotated right by 15, plus 0xa282ead8.
uint32_t masked_crc32c(Bytes);

class EventWriter {
 public:
  using Say = std::function<void(const std::string&)>;

  // Creates FOLDER/events.out.tfevents.<seconds since 1970>.<host>. TensorBoard reads a folder's files in the
  // order of their names, so this name comes behind all that are there. Forgets, in TensorBoard's eyes, what
  // older files hold of first_step and later ones: the run begins or goes on there. What holds all the same
  // is to be added again.
  // Throws ErrorKind::resource when the file cannot be made. Whatever fails later costs `say` one line.
  EventWriter(const std::filesystem::path& folder, int64_t first_step, Say say);

  // One scalar for each value, named as in the row, in one write: a run that is killed has lost none.
  void add(const MetricRow&);
  // The run goes back: what was added at `step` and later is to be forgotten, all of it, see above.
  void restart(int64_t step);

  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void append(const std::string& records);

  LogFile file_;
  Say say_;
  bool failing_ = false;
};

}  // namespace moe
