#pragma once
// Process groups: the one virtual interface of the project, and where code for several processes will ask how
// many there are. Training knows one process, and does not use it yet.

#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor.h"

namespace moe {

class Comm {
 public:
  virtual ~Comm() = default;
  virtual int size() const = 0;
  virtual int rank() const = 0;
  // Every process ends with the sum over all processes, added in rank order, the same bits everywhere.
  virtual void all_reduce(const Tensor& values) = 0;
  // Rows of `send` [sum(send_rows), ...] go to process p in runs of send_rows[p]; `receive` collects the runs
  // of all processes in rank order, receive_rows[p] from process p.
  virtual void all_to_all(const Tensor& send, std::span<const int64_t> send_rows, const Tensor& receive,
                          std::span<const int64_t> receive_rows) = 0;
  virtual void broadcast(const Tensor& values, int root) = 0;
};

// The group of one process.
class LocalComm final : public Comm {
 public:
  int size() const override { return 1; }
  int rank() const override { return 0; }
  void all_reduce(const Tensor&) override {}
  void all_to_all(const Tensor& send, std::span<const int64_t> send_rows, const Tensor& receive,
                  std::span<const int64_t> receive_rows) override;
  void broadcast(const Tensor&, int root) override;
};

}  // namespace moe
