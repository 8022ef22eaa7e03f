// Streams, events and graphs of the executor: what is not waited for has not happened.

#include <memory>
#include <string>

#include "core/cuda_memory.h"
#include "tests/catch.h"
#include "tests/simt/executor/counters.h"
#include "tests/simt/executor/fault.h"
#include "tests/simt/executor/stream.h"
#include "tests/simt/kernel_run.h"

namespace moe::test {
namespace {

using simt::FaultKind;

__global__ void set_kernel(int value, int* y) {
  *y = value;
}
__global__ void increment_kernel(int* y) {
  *y += 1;
}
__global__ void sum_kernel(const int* a, const int* b, int* y) {
  *y = *a + *b;
}

__global__ void spread_kernel(const int* x, int* y) {
  y[blockIdx.x * blockDim.x + threadIdx.x] = *x;
}

class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking) { cudaStreamCreateWithFlags(&stream_, flags); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { cudaEventCreate(&event_); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Memory of the host to and from which copies run while it works on.
class Pinned {
 public:
  explicit Pinned(int value) {
    cudaMallocHost(reinterpret_cast<void**>(&data_), sizeof(int));
    *data_ = value;
  }
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  int* data() const { return data_; }

 private:
  int* data_ = nullptr;
};

// Streams wait while one lives, in every build.
class Deferred {
 public:
  Deferred() : before_(simt::streams::deferred()) { simt::streams::deferred() = true; }
  ~Deferred() {
    cudaDeviceSynchronize();
    simt::streams::deferred() = before_;
  }
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

 private:
  bool before_;
};

bool one_fault(FaultKind kind) {
  const std::vector<simt::Fault> faults = simt::take_faults();
  return faults.size() == 1 && faults[0].kind == kind;
}

}  // namespace

TEST_CASE("the executor answers as a GPU, and says that it is none", "[simt]") {
  CHECK(cuda::why_no_device().empty());
  CHECK(cuda::device_name() == "executor on the CPU");
}

TEST_CASE("a result that is not waited for is not there", "[simt][streams]") {
  const Deferred deferred;
  Buffer<int> y(1);
  Pinned host(1);
  const Stream stream;
  gpu::launch<set_kernel>({1, 1, 0, stream}, 2, y.data());
  cudaMemcpyAsync(host.data(), y.data(), sizeof(int), cudaMemcpyDeviceToHost, stream);
  CHECK(*host.data() == 1);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(*host.data() == 2);
}

TEST_CASE("pinned memory is read when the copy runs, pageable memory at the call", "[simt][streams]") {
  const Deferred deferred;
  Buffer<int> y(2);
  Pinned pinned(1);
  int pageable = 1;
  const Stream stream;
  cudaMemcpyAsync(y.data(), pinned.data(), sizeof(int), cudaMemcpyHostToDevice, stream);
  cudaMemcpyAsync(y.data() + 1, &pageable, sizeof(int), cudaMemcpyHostToDevice, stream);
  *pinned.data() = pageable = 5;  // too early for the first
  cudaStreamSynchronize(stream);
  CHECK(y[0] == 5);
  CHECK(y[1] == 1);
}

TEST_CASE("waiting for one stream leaves the others where they are", "[simt][streams]") {
  const Deferred deferred;
  Buffer<int> y(2);
  y[0] = y[1] = 0;
  const Stream first, second;
  gpu::launch<set_kernel>({1, 1, 0, first}, 1, y.data());
  gpu::launch<set_kernel>({1, 1, 0, second}, 2, y.data() + 1);
  cudaStreamSynchronize(second);
  CHECK(y[0] == 0);
  CHECK(y[1] == 2);
  cudaDeviceSynchronize();
  CHECK(y[0] == 1);
}

TEST_CASE("an event makes one stream wait for another", "[simt][streams]") {
  under_all_schedules(4, [] {
    Buffer<int> y(3);
    const Stream first, second;
    const Event event;
    gpu::launch<set_kernel>({1, 1, 0, first}, 3, y.data());
    cudaEventRecord(event, first);
    cudaStreamWaitEvent(second, event, 0);
    gpu::launch<set_kernel>({1, 1, 0, second}, 4, y.data() + 1);
    gpu::launch<sum_kernel>({1, 1, 0, second}, y.data(), y.data() + 1, y.data() + 2);
    cudaStreamSynchronize(second);
    CHECK(y[2] == 7);
    CHECK(cudaEventQuery(event) == cudaSuccess);
  });
  CHECK(simt::take_faults().empty());
}

TEST_CASE("streams that share memory without an event are a race", "[simt][streams]") {
  if (!simt::watch::on()) return;  // in the other program
  Buffer<int> y(3);
  const Stream first, second;
  gpu::launch<set_kernel>({1, 1, 0, first}, 3, y.data());
  gpu::launch<sum_kernel>({1, 1, 0, second}, y.data(), y.data(), y.data() + 2);
  cudaDeviceSynchronize();
  CHECK(one_fault(FaultKind::race));
  // A copy is an access as well.
  int host = 0;
  gpu::launch<set_kernel>({1, 1, 0, first}, 3, y.data());
  cudaMemcpyAsync(&host, y.data(), sizeof host, cudaMemcpyDeviceToHost, second);
  cudaDeviceSynchronize();
  CHECK(one_fault(FaultKind::race));
}

TEST_CASE("a write races with the read of another stream, whatever was read since", "[simt][streams]") {
  if (!simt::watch::on()) return;
  Buffer<int> x(1), y(192);
  x[0] = 1;
  const Stream first, second;
  const Event event;
  for (const bool ordered : {true, false}) {
    gpu::launch<spread_kernel>({1, 1, 0, first}, x.data(), y.data());
    if (ordered) {
      cudaEventRecord(event, first);
      cudaStreamWaitEvent(second, event, 0);
    }
    gpu::launch<spread_kernel>({2, 64, 0, second}, x.data(), y.data() + 64);
    gpu::launch<set_kernel>({1, 1, 0, second}, 2, x.data());
    cudaDeviceSynchronize();
    CHECK((ordered ? simt::take_faults().empty() : one_fault(FaultKind::race)));
  }
}

TEST_CASE("the host's waiting orders streams", "[simt][streams]") {
  Buffer<int> y(3);
  const Stream first, second;
  gpu::launch<set_kernel>({1, 1, 0, first}, 3, y.data());
  cudaStreamSynchronize(first);
  gpu::launch<sum_kernel>({1, 1, 0, second}, y.data(), y.data(), y.data() + 2);
  cudaDeviceSynchronize();
  CHECK(y[2] == 6);
  CHECK(simt::take_faults().empty());
}

TEST_CASE("the default stream comes after all and before all", "[simt][streams]") {
  under_all_schedules(4, [] {
    Buffer<int> y(1);
    y[0] = 0;
    const Stream first(cudaStreamDefault), second(cudaStreamDefault);
    gpu::launch<increment_kernel>({1, 1, 0, first}, y.data());
    gpu::launch<increment_kernel>({1, 1}, y.data());
    gpu::launch<increment_kernel>({1, 1, 0, second}, y.data());
    cudaStreamSynchronize(second);
    CHECK(y[0] == 3);
  });
  CHECK(simt::take_faults().empty());
}

TEST_CASE("copies are checked against the memory there is", "[simt][streams]") {
  Buffer<int> y(2);
  int host[4] = {};
  CHECK(cudaMemcpy(y.data(), host, sizeof host, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(one_fault(FaultKind::bounds));
  CHECK(cudaMemcpy(host, host + 2, sizeof(int), cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(one_fault(FaultKind::bounds));
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("a captured graph does again what was entered, and nothing while it is captured",
          "[simt][graphs]") {
  const Deferred deferred;
  Buffer<int> y(1);
  y[0] = 0;
  const Stream stream;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  gpu::launch<increment_kernel>({1, 1, 0, stream}, y.data());
  gpu::launch<increment_kernel>({1, 1, 0, stream}, y.data());
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  cudaGraphDestroy(graph);
  cudaDeviceSynchronize();
  CHECK(y[0] == 0);
  const simt::Counters before = simt::counters();
  for (int i = 0; i < 3; ++i) CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(y[0] == 0);
  cudaStreamSynchronize(stream);
  CHECK(y[0] == 6);
  CHECK(simt::counters().kernels - before.kernels == 6);
  CHECK(simt::counters().graph_launches - before.graph_launches == 3);
  CHECK(simt::counters().host_syncs - before.host_syncs == 1);
  cudaGraphExecDestroy(exec);
}

TEST_CASE("what a capture forbids is found and loses the capture", "[simt][graphs]") {
  const Stream stream;
  Buffer<int> y(1);
  void* memory = nullptr;
  const auto breaks = [&](auto call, cudaError_t expected) {
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
    const cudaError_t status = call();
    cudaGraph_t graph = nullptr;
    const cudaError_t end = cudaStreamEndCapture(stream, &graph);
    return status == expected && end == cudaErrorStreamCaptureInvalidated && graph == nullptr &&
           one_fault(FaultKind::capture);
  };
  CHECK(breaks([&] { return cudaStreamSynchronize(stream); }, cudaErrorStreamCaptureUnsupported));
  CHECK(breaks([&] { return cudaDeviceSynchronize(); }, cudaErrorStreamCaptureUnsupported));
  CHECK(breaks([&] { return cudaMalloc(&memory, 4); }, cudaErrorStreamCaptureUnsupported));
  CHECK(breaks([&] { return cudaFree(y.data()); }, cudaErrorStreamCaptureUnsupported));
  CHECK(breaks([&] { return cudaMemcpy(y.data(), y.data(), 4, cudaMemcpyDeviceToDevice); },
               cudaErrorStreamCaptureUnsupported));
  const Stream ordinary(cudaStreamDefault);
  cudaStreamBeginCapture(ordinary, cudaStreamCaptureModeGlobal);
  CHECK(cudaMemsetAsync(y.data(), 0, 4, nullptr) == cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(ordinary, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(one_fault(FaultKind::capture));
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  CHECK(one_fault(FaultKind::capture));
  cudaGetLastError();
}

TEST_CASE("allocations, copies and waits are counted", "[simt][counters]") {
  const simt::Counters before = simt::counters();
  {
    Buffer<int> y(10);
    int host[10] = {};
    cudaMemcpy(y.data(), host, sizeof host, cudaMemcpyHostToDevice);
    cudaMemcpy(host, y.data(), 8, cudaMemcpyDeviceToHost);
    cudaMemset(y.data(), 0, 12);
    run<set_kernel>({2, 3}, 1, y.data());
  }
  simt::take_faults();  // threads wrote one value together
  const simt::Counters& after = simt::counters();
  CHECK(after.allocations - before.allocations == 1);
  CHECK(after.frees - before.frees == 1);
  CHECK(after.bytes_to_device - before.bytes_to_device == 40);
  CHECK(after.bytes_to_host - before.bytes_to_host == 8);
  CHECK(after.bytes_filled - before.bytes_filled == 12);
  CHECK(after.host_syncs - before.host_syncs == 4);  // copies, run() and cudaFree
  CHECK(after.kernels - before.kernels == 1);
  CHECK(after.blocks - before.blocks == 2);
  CHECK(after.threads - before.threads == 6);
}

TEST_CASE("pinned memory that is freed counts as freed and waited for", "[simt][counters]") {
  const simt::Counters before = simt::counters();
  { const Pinned memory(1); }
  CHECK(simt::counters().allocations - before.allocations == 1);
  CHECK(simt::counters().frees - before.frees == 1);
  CHECK(simt::counters().host_syncs - before.host_syncs == 1);
}

}  // namespace moe::test
