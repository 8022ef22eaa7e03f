#pragma once
// The functions of cuBLAS that are used here.
//
// With MOE_LOAD_CUBLAS the library is looked for when the first product asks for it, so that a program starts
// quickly, and on a machine without it; else it is linked.

#include <cublas_v2.h>

namespace moe::kernels::cuda {

struct Cublas {
  decltype(&cublasCreate) create;
  decltype(&cublasDestroy) destroy;
  decltype(&cublasSetStream) set_stream;
  decltype(&cublasSetWorkspace) set_workspace;
  decltype(&cublasSgemm) sgemm;
  decltype(&cublasGetStatusString) status_string;
};

// Throws ErrorKind::resource when the library is not there.
const Cublas& cublas();

}  // namespace moe::kernels::cuda
