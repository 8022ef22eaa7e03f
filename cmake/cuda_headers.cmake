# moe_find_cuda_headers(): sets CUDA_HEADERS_DIR to a folder with cuda_runtime.h and cublas_v2.h, of an installed
# toolkit or else fetched by scripts/get_cuda_headers.sh into the build folder. Left unset when there is neither.
function(moe_find_cuda_headers)
  set(fetched ${PROJECT_BINARY_DIR}/cuda-headers/include)
  find_path(CUDA_HEADERS_DIR NAMES cublas_v2.h
            HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV CUDA_PATH ENV CUDA_HOME
            PATHS /usr/local/cuda /opt/cuda ${fetched} PATH_SUFFIXES include
            DOC "Folder with cuda_runtime.h and cublas_v2.h")
  if(NOT CUDA_HEADERS_DIR)
    execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/get_cuda_headers.sh ${PROJECT_BINARY_DIR}/cuda-headers
                    RESULT_VARIABLE failed)
    if(NOT failed)
      set(CUDA_HEADERS_DIR ${fetched} CACHE PATH "Folder with cuda_runtime.h and cublas_v2.h" FORCE)
    endif()
  endif()
endfunction()
