# cmake --install: headers, static libraries, programs, and what find_package(makemoe) needs.
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/makemoe)

set(libraries moe_core moe_kernels moe_autograd)
if(TARGET moe_model)
  list(APPEND libraries moe_model)
endif()
install(TARGETS ${libraries} EXPORT makemoe ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT makemoe NAMESPACE makemoe:: FILE makemoe-targets.cmake DESTINATION ${package})
install(DIRECTORY core kernels autograd model DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/makemoe
        FILES_MATCHING PATTERN "*.h")

get_property(targets DIRECTORY apps PROPERTY BUILDSYSTEM_TARGETS)
foreach(target ${targets})
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    install(TARGETS ${target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

configure_package_config_file(cmake/makemoe-config.cmake.in makemoe-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(makemoe-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/makemoe-config.cmake ${PROJECT_BINARY_DIR}/makemoe-config-version.cmake
        DESTINATION ${package})
