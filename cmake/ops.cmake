# add_op(combine): kernels/combine/combine_cpu.cpp (and, with CUDA, combine_cuda.cu) join the kernels library,
# autograd/combine.cpp joins the autograd library, and the tests ask for a case of that name.
function(add_op name)
  set(folder ${PROJECT_SOURCE_DIR}/kernels/${name})
  set_property(GLOBAL APPEND PROPERTY MOE_OPS ${name})
  if(EXISTS ${folder}/${name}_cpu.cpp)
    set_property(GLOBAL APPEND PROPERTY MOE_KERNEL_SOURCES ${folder}/${name}_cpu.cpp)
  endif()
  if(EXISTS ${PROJECT_SOURCE_DIR}/autograd/${name}.cpp)
    set_property(GLOBAL APPEND PROPERTY MOE_AUTOGRAD_SOURCES ${PROJECT_SOURCE_DIR}/autograd/${name}.cpp)
  endif()
endfunction()
