#pragma once
// For tests of routing: a tape in double, and operations' results as plain vectors.

#include <cmath>
#include <functional>
#include <string>

#include "autograd/ops.h"
#include "tests/catch.h"

namespace moe::test {

struct Bench {
  Arena arena{Device::cpu};
  Tape tape{arena, Mode::train};

  static Var var(const std::vector<double>& values, const Shape& shape) {
    return Var::constant(Tensor::from(std::span(values), shape), "test");
  }
  static Tensor ids(const std::vector<int32_t>& values, const Shape& shape) {
    return Tensor::from(std::span(values), shape);
  }
  template <class T>
  static std::vector<T> list(const Tensor& t) {
    const auto s = t.span<T>();
    return {s.begin(), s.end()};
  }
  static double number(const Var& v) { return v.value().data<double>()[0]; }
};

inline void check_throws(const std::function<void()>& call, const std::string& part) {
  try {
    call();
    FAIL("nothing was thrown");
  } catch (const Error& e) {
    INFO(e.what());
    CHECK(std::string(e.what()).find(part) != std::string::npos);
  }
}

}  // namespace moe::test
