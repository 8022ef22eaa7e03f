# What must hold beside the tests, as tests of its own (MOE_CHECKS): `ctest -L check` runs these, `-LE check` the rest.
# They use all cores and so run one at a time; the long ones start first. Exit code 77 means skipped.
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)

function(moe_check name)
  add_test(NAME check.${name} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(check.${name} PROPERTIES LABELS check PROCESSORS ${cores} SKIP_RETURN_CODE 77
                                                TIMEOUT 3600)
endfunction()

set(scripts ${PROJECT_SOURCE_DIR}/scripts)
moe_check(sanitizers ${scripts}/check_sanitizers.sh)
moe_check(tidy ${scripts}/check_tidy.sh)
moe_check(format ${scripts}/check_format.sh)
moe_check(docs ${scripts}/check_docs.sh)
moe_check(get_text ${PROJECT_SOURCE_DIR}/tests/get_text_test.sh)
moe_check(train_script ${PROJECT_SOURCE_DIR}/tests/train_script_test.sh)
moe_check(cuda_compiles ${scripts}/check_cuda.sh)
moe_check(planted_faults ${scripts}/plant_faults.py ${PROJECT_BINARY_DIR} --sample 4)
moe_check(package ${PROJECT_SOURCE_DIR}/tests/package/run.sh ${PROJECT_BINARY_DIR} ${CMAKE_COMMAND})
set_tests_properties(check.sanitizers check.tidy PROPERTIES COST 1000)
