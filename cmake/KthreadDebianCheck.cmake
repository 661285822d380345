# SPDX-License-Identifier: MIT
# Read by cpack before anything else.
if(CPACK_GENERATOR STREQUAL "DEB")
  if(NOT CPACK_KTHREAD_LIBDIR STREQUAL "lib/${CPACK_KTHREAD_MULTIARCH}")
    message(FATAL_ERROR "This build puts the library into \"${CPACK_KTHREAD_LIBDIR}\". Packages are made of one that was \
configured with the preset \"package\", or with -DCMAKE_INSTALL_PREFIX=/usr.")
  endif()
endif()
