#include "apps/device_options.h"

#include <fmt/format.h>

#include "apps/word_option.h"
#include "core/cuda_memory.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace moe {
namespace {

std::string why_no_gpu() {
  if constexpr (kWithCuda) return cuda::why_no_device();
  return "this build has no CUDA kernels";
}

ChosenDevice the_gpu(const DeviceOptions& o) {
  if constexpr (kWithCuda) {
    set_current_precision(o.precision);
    const Precision used = cuda::usable_precision();
    std::string why = o.device == "auto" ? "it answers" : "as asked";
    if (used != o.precision) why += fmt::format("; it has no {}", name_of(o.precision));
    return {Device::cuda, fmt::format("cuda, {}, {} ({})", cuda::device_name(), name_of(used), why),
            cuda::available_memory()};
  }
  throw error(ErrorKind::runtime, "a GPU was chosen that this build cannot use");
}

}  // namespace

template <>
const std::vector<std::string>& words_of<Precision>() {
  static const std::vector<std::string> words = {name_of(Precision::fp32), name_of(Precision::tf32),
                                                 name_of(Precision::bf16)};
  return words;
}

void add_device_options(CLI::App& app, DeviceOptions& o, const std::string& group) {
  app.add_option("--device", o.device, "where to compute; auto: on the GPU, when one answers")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}).description(""))
      ->type_name("auto|cpu|cuda")
      ->capture_default_str()
      ->group(group);
  add_word_option(app, "--dtype", o.precision,
                  "in what the GPU multiplies matrices; the CPU computes in fp32")
      ->group(group);
}

ChosenDevice choose_device(const DeviceOptions& o) {
  if (o.device == "cpu" && o.precision != Precision::fp32)
    throw error(ErrorKind::usage, "--dtype {}: the CPU computes in fp32", name_of(o.precision));
  std::string reason = o.device == "cpu" ? "as asked" : why_no_gpu();
  if (reason.empty()) return the_gpu(o);
  if (o.device == "cuda") throw error(ErrorKind::usage, "--device cuda: {}", reason);
  if (o.precision != Precision::fp32)
    reason += fmt::format("; it computes in fp32, not in {}", name_of(o.precision));
  return {Device::cpu, fmt::format("cpu, {} threads ({})", threads(), reason), available_memory()};
}

}  // namespace moe
