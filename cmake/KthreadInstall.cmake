# SPDX-License-Identifier: MIT
# The library, its headers, kthread.pc and the CMake package files. All of it may be moved after installation. Components
# are named as the packages that they become (KthreadPackage.cmake).
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kthread)
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(
  TARGETS kthread
  EXPORT kthreadTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          COMPONENT libkthread0
          NAMELINK_COMPONENT libkthread-dev
  FILE_SET HEADERS
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    COMPONENT libkthread-dev)
install(
  EXPORT kthreadTargets
  NAMESPACE kthread::
  DESTINATION ${package_dir}
  COMPONENT libkthread-dev)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/kthreadConfig.cmake.in kthreadConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may break what an older one promised.
write_basic_package_version_file(kthreadConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kthreadConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/kthreadConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT libkthread-dev)

# The prefix, seen from where the .pc file lies. Directories that are absolute stay so.
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_LIBDIR libdir_absolute)
if(libdir_absolute)
  set(KTHREAD_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
  set(KTHREAD_PC_LIBDIR ${CMAKE_INSTALL_LIBDIR})
else()
  cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}/${pc_dir} OUTPUT_VARIABLE up)
  set(KTHREAD_PC_PREFIX "\${pcfiledir}/${up}")
  set(KTHREAD_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_INCLUDEDIR includedir_absolute)
if(includedir_absolute)
  set(KTHREAD_PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
else()
  set(KTHREAD_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/kthread.pc.in kthread.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kthread.pc DESTINATION ${pc_dir} COMPONENT libkthread-dev)
