# SPDX-License-Identifier: MIT
# How our own code is compiled, as interface targets: nothing of this reaches a user of the library.
#   kthread_warnings    the warnings
#   kthread_instrument  sanitizers and coverage, when asked for
#   kthread_dialect     the language: gnu11, the GNU interfaces of libc, our version

add_library(kthread_warnings INTERFACE)
target_compile_options(
  kthread_warnings
  INTERFACE -Wall
            -Wextra
            -Wconversion
            -Wshadow
            $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
            $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
            -Wvla
            $<$<BOOL:${KTHREAD_WERROR}>:-Werror>)

add_library(kthread_instrument INTERFACE)
if(KTHREAD_SANITIZE)
  list(JOIN KTHREAD_SANITIZE "," sanitizers)
  set(sanitizer_flags -fsanitize=${sanitizers} -fno-sanitize-recover=all)
  target_compile_options(kthread_instrument INTERFACE ${sanitizer_flags} -fno-omit-frame-pointer)
  target_link_options(kthread_instrument INTERFACE ${sanitizer_flags})
endif()
if(KTHREAD_COVERAGE)
  # -fprofile-update=atomic: the counters of a threaded program, else they are wrong
  target_compile_options(kthread_instrument INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(kthread_instrument INTERFACE --coverage)
endif()

add_library(kthread_dialect INTERFACE)
target_compile_definitions(kthread_dialect INTERFACE _GNU_SOURCE KTHREAD_VERSION="${PROJECT_VERSION}")

# Probes (src/base/probe.h) need one header, of systemtap; nothing at run time.
include(CheckIncludeFile)
if(NOT KTHREAD_PROBES MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "KTHREAD_PROBES is \"${KTHREAD_PROBES}\": AUTO, ON or OFF")
endif()
set(KTHREAD_HAVE_PROBES OFF)
if(NOT KTHREAD_PROBES STREQUAL "OFF")
  check_include_file(sys/sdt.h KTHREAD_SDT_HEADER)
  if(KTHREAD_SDT_HEADER)
    set(KTHREAD_HAVE_PROBES ON)
    target_compile_definitions(kthread_dialect INTERFACE KTHREAD_HAVE_SDT)
  elseif(KTHREAD_PROBES STREQUAL "ON")
    message(FATAL_ERROR "KTHREAD_PROBES is ON, but there is no <sys/sdt.h>: it is in systemtap-sdt-dev (Debian) or "
                        "systemtap-sdt-devel (Fedora)")
  endif()
endif()

# Compile a target of ours as ours.
function(kt_own_target target)
  set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS ON)
  target_link_libraries(${target} PRIVATE kthread_dialect kthread_warnings kthread_instrument)
endfunction()
