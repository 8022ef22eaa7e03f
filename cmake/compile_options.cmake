# Flags of every target: moe_options carries them, so that an installed library does not force them on its users.
add_library(moe_options INTERFACE)
set(flags -Wall -Wextra -Wshadow -Wnon-virtual-dtor
  # No fused multiply-add but where the source says so: a value then does not depend on how a loop was cut.
  -ffp-contract=off -fno-math-errno -fno-trapping-math
  # Short vectors (kernels/math.h) never cross the border of a library.
  -Wno-psabi
  # Members that an initialiser leaves out have the default that their struct gives them.
  -Wno-missing-field-initializers
  # GCC 12 sees overlaps in std::string that are not there (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # What clang-tidy would look for as well, in much more time.
  -Wzero-as-null-pointer-constant -Wsuggest-override $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-branches -Wduplicated-cond>)
if(MOE_WERROR)
  list(APPEND flags -Werror)
endif()
if(MOE_NATIVE)
  list(APPEND flags -march=native)
endif()
target_compile_options(moe_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${flags}>")
if(MOE_SANITIZE)
  target_compile_options(moe_options INTERFACE -fsanitize=${MOE_SANITIZE} -fno-sanitize-recover=all
                                               -fno-omit-frame-pointer)
  # Of targets of moe_test_code, below.
  set(is_test_code $<BOOL:$<TARGET_PROPERTY:MOE_TEST_CODE>>)
  target_compile_options(moe_options INTERFACE $<${is_test_code}:-fno-sanitize=undefined>
                                               $<${is_test_code}:-fno-sanitize-address-use-after-scope>)
  target_link_options(moe_options INTERFACE -fsanitize=${MOE_SANITIZE})
endif()

# moe_compile_quickly(target): of sources that leave what takes time to the libraries, as tests and the programs'
# command lines do. They are many, and compiling them takes longer than running them.
function(moe_compile_quickly target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-Og>)
endfunction()

# moe_test_code(target): quickly, and sanitizers watch the heap and arrays alone, which halves the compiler's time: it is
# what tests call that they are to watch.
function(moe_test_code target)
  moe_compile_quickly(${target})
  set_target_properties(${target} PROPERTIES MOE_TEST_CODE ON)
endfunction()

# moe_folder(core DEPENDS ...): the static library moe_core of a folder's sources, alias makemoe::core.
function(moe_folder name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;SOURCES" ${ARGN})
  add_library(moe_${name} STATIC ${ARG_SOURCES})
  add_library(makemoe::${name} ALIAS moe_${name})
  target_include_directories(moe_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/makemoe>)
  target_link_libraries(moe_${name} PUBLIC ${ARG_DEPENDS} PRIVATE $<BUILD_INTERFACE:moe_options>)
  target_compile_features(moe_${name} PUBLIC cxx_std_20)
  set_target_properties(moe_${name} PROPERTIES EXPORT_NAME ${name} OUTPUT_NAME makemoe_${name}
                                               POSITION_INDEPENDENT_CODE ON)
endfunction()
