#pragma once
// --device and --dtype: where to compute, and in what.

#include <CLI/CLI.hpp>
#include <string>

#include "core/device.h"

namespace moe {

struct DeviceOptions {
  std::string device = "auto";
  Precision precision = Precision::fp32;
};

// `group`: of the help text.
void add_device_options(CLI::App& app, DeviceOptions& options, const std::string& group);

struct ChosenDevice {
  Device device;
  std::string description;  // "cuda, NVIDIA H100 80GB HBM3, bf16 (as asked)", "cpu, 8 threads (why)"
  int64_t available_memory;
};

// The device that the options name, with the precision set for this thread; `auto` is the GPU when one
// answers. To be called after set_threads. Throws ErrorKind::usage for `cuda` where no GPU can be used,
// saying why, and for `cpu` with a precision that it does not have.
ChosenDevice choose_device(const DeviceOptions& options);

}  // namespace moe
