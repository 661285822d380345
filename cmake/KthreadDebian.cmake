# SPDX-License-Identifier: MIT
# Run by cpack between the installation into a directory per component and the packing of those: what Debian wants in a
# package beyond what is installed.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}: ${status}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

# Pages are compressed, and links to them lead to compressed ones.
function(compress_pages root)
  file(GLOB_RECURSE pages LIST_DIRECTORIES false ${root}/usr/share/man/*)
  foreach(page IN LISTS pages)
    if(IS_SYMLINK ${page})
      file(READ_SYMLINK ${page} target)
      file(REMOVE ${page})
      file(CREATE_LINK ${target}.gz ${page}.gz SYMBOLIC)
    else()
      run(gzip -9n ${page})
    endif()
  endforeach()
endfunction()

# The packages with the libraries that FILES are linked with -> out
function(dependencies)
  execute_process(
    COMMAND dpkg-shlibdeps -O -l${CPACK_TEMPORARY_DIRECTORY}/libkthread0/usr/lib/${CPACK_KTHREAD_MULTIARCH} ${ARGN}
    WORKING_DIRECTORY ${CPACK_KTHREAD_BINARY}
    RESULT_VARIABLE status
    OUTPUT_VARIABLE out
    ERROR_VARIABLE log)
  if(NOT status EQUAL 0 OR NOT out MATCHES "shlibs:Depends=([^\n]*)")
    message(FATAL_ERROR "dpkg-shlibdeps: ${status}, \"${out}\"\n${log}")
  endif()
  set(out "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

run(date -R -u -d ${CPACK_KTHREAD_DATE})
set(date ${out})
file(READ ${CPACK_KTHREAD_SOURCE}/LICENSE license)
string(REGEX REPLACE "^MIT License\n\n[^\n]*\n\n" "" license "${license}")
string(REGEX REPLACE "\n\n" "\n.\n" license "${license}")
string(REGEX REPLACE "\n([^\n])" "\n \\1" license " ${license}")

string(REGEX MATCH "^[0-9]+" year ${CPACK_KTHREAD_DATE})
set(debian ${CPACK_KTHREAD_BINARY}/debian)
set(shlibs "libkthread 0 libkthread0 (>= ${CPACK_PACKAGE_VERSION})\n")
file(WRITE ${debian}/control "Source: libkthread\n\nPackage: libkthread0\nArchitecture: any\n") # dpkg-shlibdeps wants one
file(WRITE ${debian}/shlibs.local ${shlibs}) # the command may be linked with our library, which is not installed here
file(WRITE ${debian}/shlibs ${shlibs})
file(WRITE ${debian}/triggers "activate-noawait ldconfig\n")

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  set(root ${CPACK_TEMPORARY_DIRECTORY}/${component})
  set(doc ${root}/usr/share/doc/${component})
  compress_pages(${root})
  file(
    WRITE ${doc}/copyright
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: libkthread

Files: *
Copyright: ${year} The libkthread authors
License: Expat

License: Expat
${license}")
  file(
    WRITE ${doc}/changelog.Debian
    "libkthread (${CPACK_KTHREAD_VERSION}) unstable; urgency=medium

  * Version ${CPACK_PACKAGE_VERSION}.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
  run(gzip -9n ${doc}/changelog.Debian)
  file(GLOB objects ${root}/usr/bin/* ${root}/usr/lib/*/lib*.so.*.*)
  if(objects)
    dependencies(${objects})
    string(TOUPPER ${component} upper)
    set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS "${out}")
  endif()
  if(EXISTS ${CPACK_KTHREAD_SOURCE}/cmake/debian/${component}.lintian-overrides)
    file(COPY_FILE ${CPACK_KTHREAD_SOURCE}/cmake/debian/${component}.lintian-overrides
         ${root}/usr/share/lintian/overrides/${component})
  endif()
endforeach()

file(GLOB library ${CPACK_TEMPORARY_DIRECTORY}/libkthread0/usr/lib/${CPACK_KTHREAD_MULTIARCH}/libkthread.so.*.*)
run(
  dpkg-gensymbols
  -c4
  -plibkthread0
  -v${CPACK_KTHREAD_VERSION}
  -I${CPACK_KTHREAD_SOURCE}/cmake/debian/libkthread0.symbols
  -e${library}
  -O${debian}/symbols)
