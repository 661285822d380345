# SPDX-License-Identifier: MIT
# The manual, as a tree that man(1) finds its way in (build/.../man): section 3 is made out of the headers by man3.pl, the
# other pages lie in src/man/; that of the command, which installs it itself, beside it.
find_program(KTHREAD_PERL NAMES perl REQUIRED DOC "perl, for the manual; none is needed with KTHREAD_BUILD_MAN=OFF")
mark_as_advanced(KTHREAD_PERL)

set(man_dir ${PROJECT_BINARY_DIR}/man)
file(GLOB man_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/kthread/*.h)
file(GLOB man_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/man/*.[1-8])
set(man_more)
if(TARGET kthreadctl)
  set(man_more ${PROJECT_SOURCE_DIR}/src/kthreadctl/kthreadctl.1)
endif()

add_custom_command(
  OUTPUT ${man_dir}/man3.stamp
  COMMAND ${CMAKE_COMMAND} -E make_directory ${man_dir}
  COMMAND ${KTHREAD_PERL} ${PROJECT_SOURCE_DIR}/cmake/man3.pl ${man_dir}/man3 ${PROJECT_VERSION} ${KTHREAD_DATE}
          ${man_headers}
  COMMAND ${CMAKE_COMMAND} -E touch ${man_dir}/man3.stamp
  DEPENDS ${PROJECT_SOURCE_DIR}/cmake/man3.pl ${PROJECT_SOURCE_DIR}/CMakeLists.txt ${man_headers}
  COMMENT "Manual: section 3"
  VERBATIM)
set(man_built ${man_dir}/man3.stamp)
foreach(page IN LISTS man_pages man_more)
  cmake_path(GET page FILENAME name)
  string(REGEX REPLACE ".*\\." "" section ${name})
  add_custom_command(
    OUTPUT ${man_dir}/man${section}/${name}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${man_dir}/man${section}
    COMMAND ${CMAKE_COMMAND} -E copy ${page} ${man_dir}/man${section}/${name}
    DEPENDS ${page}
    VERBATIM)
  list(APPEND man_built ${man_dir}/man${section}/${name})
endforeach()
add_custom_target(man ALL DEPENDS ${man_built})

if(KTHREAD_INSTALL)
  install(
    DIRECTORY ${man_dir}/man3
    DESTINATION ${CMAKE_INSTALL_MANDIR}
    COMPONENT libkthread-dev)
  foreach(page IN LISTS man_pages)
    cmake_path(GET page FILENAME name)
    string(REGEX REPLACE ".*\\." "" section ${name})
    # What an operator reads comes with the command, what a programmer reads with the headers.
    set(component libkthread-dev)
    if(TARGET kthreadctl AND NOT name STREQUAL kthread.7)
      set(component kthreadctl)
    endif()
    install(
      FILES ${page}
      DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section}
      COMPONENT ${component})
  endforeach()
endif()
