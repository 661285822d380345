# SPDX-License-Identifier: MIT
#
# kt_add_test(NAME n LABEL unit|arch|integration|vm|torture|fuzz|bench
#             SOURCES file... [WRAP symbol...] [LIBS target...] [TIMEOUT seconds] [PUBLIC] [ARGS arg...] [ENV NAME=VALUE...])
#   A test program LABEL_n, run as the test LABEL/n. It is linked with CMocka and with kthread_testing (every internal
#   function can be called, and any call of another object or of libc can be wrapped); with PUBLIC instead with the
#   shared library alone, as a user's program is.
#
# kt_add_script(NAME n LABEL l COMMAND command arg... [TIMEOUT seconds] [ENV NAME=VALUE...])
#   The same for something that is run as it is.
#
# WRAP reaches libgcov too, which opens, locks and writes files at exit: for calls that a case has not asked for, a
# __wrap_ function passes on to __real_, or the coverage build fails.
#
# Exit status 77 means "cannot run here". The default TIMEOUT is 120 s (vm, torture, bench: 600 s); sanitizers get four
# times what is said. KTHREAD_ROOT and the other variables that the library reads don't reach a test from outside.

set(KT_TEST_LABELS unit arch integration vm torture fuzz bench)
set(KT_TEST_ALONE vm torture bench) # these load or measure the whole machine

pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

# What test code may do beyond the library's: parameters that CMocka's signatures force, __wrap_ functions.
add_library(kthread_test_dialect INTERFACE)
target_compile_options(kthread_test_dialect INTERFACE -Wno-unused-parameter -Wno-missing-prototypes)

function(kt_test_properties test label timeout environment)
  if(NOT label IN_LIST KT_TEST_LABELS)
    message(FATAL_ERROR "${test}: the label \"${label}\" is none of ${KT_TEST_LABELS}")
  endif()
  if(NOT timeout AND label IN_LIST KT_TEST_ALONE)
    set(timeout 600)
  elseif(NOT timeout)
    set(timeout 120)
  endif()
  if(KTHREAD_SANITIZE)
    math(EXPR timeout "${timeout} * 4")
  endif()
  set(changes)
  foreach(name ROOT SIMULATE HOUSEKEEPING POLL_MS LOG CONTROL CONTROL_READ_ONLY)
    list(APPEND changes KTHREAD_${name}=unset:)
  endforeach()
  list(APPEND changes ASAN_OPTIONS=set:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
       UBSAN_OPTIONS=set:print_stacktrace=1 TSAN_OPTIONS=set:halt_on_error=1:second_deadlock_stack=1)
  foreach(entry IN LISTS environment)
    string(REGEX REPLACE "^([^=]*)=" "\\1=set:" change "${entry}")
    list(APPEND changes "${change}")
  endforeach()
  set_tests_properties(
    ${test}
    PROPERTIES LABELS ${label}
               TIMEOUT ${timeout}
               SKIP_RETURN_CODE 77
               ENVIRONMENT_MODIFICATION "${changes}")
  if(label IN_LIST KT_TEST_ALONE)
    set_tests_properties(${test} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()

function(kt_add_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "PUBLIC" "NAME;LABEL;TIMEOUT" "SOURCES;WRAP;LIBS;ARGS;ENV")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_NAME OR NOT arg_SOURCES)
    message(FATAL_ERROR "kt_add_test(${ARGV}): NAME and SOURCES are needed; not known: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  set(target ${arg_LABEL}_${arg_NAME})
  add_executable(${target} ${arg_SOURCES})
  kt_own_target(${target})
  target_link_libraries(${target} PRIVATE kthread_test_dialect PkgConfig::CMOCKA Threads::Threads ${arg_LIBS})
  if(arg_PUBLIC)
    target_link_libraries(${target} PRIVATE kthread::kthread)
  else()
    target_link_libraries(${target} PRIVATE kthread_testing)
  endif()
  list(TRANSFORM arg_WRAP PREPEND "LINKER:--wrap=")
  target_link_options(${target} PRIVATE ${arg_WRAP})
  add_test(NAME ${arg_LABEL}/${arg_NAME} COMMAND ${target} ${arg_ARGS})
  kt_test_properties(${arg_LABEL}/${arg_NAME} "${arg_LABEL}" "${arg_TIMEOUT}" "${arg_ENV}")
endfunction()

function(kt_add_script)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;LABEL;TIMEOUT" "COMMAND;ENV")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_NAME OR NOT arg_COMMAND)
    message(FATAL_ERROR "kt_add_script(${ARGV}): NAME and COMMAND are needed; not known: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_test(NAME ${arg_LABEL}/${arg_NAME} COMMAND ${arg_COMMAND})
  kt_test_properties(${arg_LABEL}/${arg_NAME} "${arg_LABEL}" "${arg_TIMEOUT}" "${arg_ENV}")
endfunction()
