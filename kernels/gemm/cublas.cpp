#ifdef MOE_WITH_CUDA

#include "kernels/gemm/cublas.h"

#ifdef MOE_LOAD_CUBLAS
#include <dlfcn.h>

#include <string>

#include "core/error.h"
#endif

namespace moe::kernels::cuda {

#ifdef MOE_LOAD_CUBLAS

namespace {

template <class Function>
Function* symbol(void* library, const char* name) {
  void* const found = dlsym(library, name);
  if (!found) throw error(ErrorKind::resource, "cublas: {}", dlerror());
  return reinterpret_cast<Function*>(found);
}

Cublas load() {
  const std::string name = "libcublas.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) library = dlopen((MOE_LOAD_CUBLAS "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw error(ErrorKind::resource, "cublas: {} (needed for --device cuda)", dlerror());
  return {symbol<decltype(cublasCreate)>(library, "cublasCreate_v2"),
          symbol<decltype(cublasDestroy)>(library, "cublasDestroy_v2"),
          symbol<decltype(cublasSetStream)>(library, "cublasSetStream_v2"),
          symbol<decltype(cublasSetWorkspace)>(library, "cublasSetWorkspace_v2"),
          symbol<decltype(cublasSgemm)>(library, "cublasSgemm_v2"),
          symbol<decltype(cublasGetStatusString)>(library, "cublasGetStatusString")};
}

}  // namespace

const Cublas& cublas() {
  static const Cublas loaded = load();  // never unloaded: threads may end after all else
  return loaded;
}

#else

const Cublas& cublas() {
  static const Cublas linked = {cublasCreate,       cublasDestroy, cublasSetStream,
                                cublasSetWorkspace, cublasSgemm,   cublasGetStatusString};
  return linked;
}

#endif

}  // namespace moe::kernels::cuda

#endif
