# SPDX-License-Identifier: MIT
# Debian packages, of a build that was configured with the preset "package":
#   cmake --preset package && cmake --build --preset package && cpack -G DEB --config build/package/CPackConfig.cmake
# gives libkthread0, libkthread-dev and kthreadctl. What Debian wants in a package beyond what is installed (changelog,
# copyright, dependencies, symbols, compressed pages) is put there by KthreadDebian.cmake.
set(KTHREAD_MAINTAINER
    "The libkthread authors <libkthread@packages.invalid>"
    CACHE STRING "Name and address of who makes the packages")
set(KTHREAD_DEBIAN_REVISION 0local1 CACHE STRING "Revision of the packages; this one is below any that Debian may have")
mark_as_advanced(KTHREAD_MAINTAINER KTHREAD_DEBIAN_REVISION)

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME libkthread)
set(CPACK_PACKAGE_VENDOR "The libkthread authors")
set(CPACK_PACKAGE_CONTACT ${KTHREAD_MAINTAINER})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each component has its own
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_COMPONENTS_ALL libkthread0 libkthread-dev)

set(about
    "libkthread gives threads of a daemon the life and the place that the kernel's
own kthreads have: they are created, parked, stopped with a result, and return
to their CPUs whenever those have gone and come back.")
set(CPACK_COMPONENT_LIBKTHREAD0_DESCRIPTION
    "Threads that keep the place they were given (library)\n${about}\n\nThis package has the shared library.")
set(CPACK_COMPONENT_LIBKTHREAD-DEV_DESCRIPTION
    "Threads that keep the place they were given (development)\n${about}\n\nThis package has the headers and the manual.")
set(CPACK_COMPONENT_KTHREADCTL_DESCRIPTION
    "Look at the threads of a libkthread daemon, and steer them\n${about}\n\nThis package has the command that shows them, \
and the manual for operators.")
set(CPACK_DEBIAN_LIBKTHREAD0_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBKTHREAD-DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_KTHREADCTL_PACKAGE_SECTION admin)
if(TARGET kthreadctl)
  list(APPEND CPACK_COMPONENTS_ALL kthreadctl)
endif()

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${KTHREAD_DEBIAN_REVISION})
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(debian_version ${PROJECT_VERSION}-${KTHREAD_DEBIAN_REVISION})
foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER ${component} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${component})
endforeach()
# cpack's own way to the dependencies and shlibs has scripts that call ldconfig come with it, where Debian has a trigger.
set(CPACK_DEBIAN_LIBKTHREAD0_PACKAGE_CONTROL_EXTRA
    ${PROJECT_BINARY_DIR}/debian/symbols ${PROJECT_BINARY_DIR}/debian/shlibs ${PROJECT_BINARY_DIR}/debian/triggers)
set(CPACK_DEBIAN_LIBKTHREAD0_PACKAGE_MULTIARCH same) # heard by CMake 3.27
set(CPACK_DEBIAN_LIBKTHREAD-DEV_PACKAGE_MULTIARCH same)
set(CPACK_DEBIAN_LIBKTHREAD-DEV_PACKAGE_DEPENDS "libkthread0 (= ${debian_version})")
set(CPACK_DEBIAN_LIBKTHREAD-DEV_PACKAGE_SUGGESTS kthreadctl)

set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/cmake/KthreadDebianCheck.cmake)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/KthreadDebian.cmake)
set(CPACK_KTHREAD_LIBDIR ${CMAKE_INSTALL_LIBDIR})
set(CPACK_KTHREAD_MULTIARCH ${CMAKE_LIBRARY_ARCHITECTURE})
set(CPACK_KTHREAD_DATE ${KTHREAD_DATE})
set(CPACK_KTHREAD_VERSION ${debian_version})
set(CPACK_KTHREAD_SOURCE ${PROJECT_SOURCE_DIR})
set(CPACK_KTHREAD_BINARY ${PROJECT_BINARY_DIR})
include(CPack)
