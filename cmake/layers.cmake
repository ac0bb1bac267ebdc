# How a folder becomes a library that sees only what it may use, and how a program is linked.
#
# Every folder src/NAME is included as "NAME/file.h". Its include path holds one link, NAME, so a
# target finds the headers of a layer only when it links that layer: a wrong include does not compile.

add_library(gpuward_flags INTERFACE)
target_compile_options(gpuward_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Werror
  -ffunction-sections -fdata-sections -fno-omit-frame-pointer)
target_compile_definitions(gpuward_flags INTERFACE
  _GNU_SOURCE GPUWARD_VERSION="${PROJECT_VERSION}")
if(GPUWARD_SANITIZE)
  # Their checks stand in the way of g++ 12's own view of what is within bounds.
  target_compile_options(gpuward_flags INTERFACE -fsanitize=${GPUWARD_SANITIZE} -fno-sanitize-recover=all -g -O1
    $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds;-Wno-stringop-overread;-Wno-stringop-overflow>)
  target_link_options(gpuward_flags INTERFACE -fsanitize=${GPUWARD_SANITIZE})
else()
  target_link_options(gpuward_flags INTERFACE -Wl,--gc-sections)
endif()
if(GPUWARD_FUZZ)
  target_compile_options(gpuward_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# gpuward_layer(NAME [DIR folder] [USES layer...] [LINKS target...])
#   The library gpuward_NAME of all *.cc in src/NAME (or DIR), except main.cc.
function(gpuward_layer name)
  cmake_parse_arguments(ARG "" "DIR" "USES;LINKS" ${ARGN})
  if(NOT ARG_DIR)
    set(ARG_DIR ${CMAKE_SOURCE_DIR}/src/${name})
  endif()
  set(door ${CMAKE_BINARY_DIR}/include/${name})
  file(MAKE_DIRECTORY ${door})
  file(CREATE_LINK ${ARG_DIR} ${door}/${name} SYMBOLIC)

  file(GLOB sources CONFIGURE_DEPENDS ${ARG_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  set(used ${ARG_USES})
  list(TRANSFORM used PREPEND gpuward_)
  if(sources)
    add_library(gpuward_${name} STATIC ${sources})
    target_include_directories(gpuward_${name} PUBLIC ${door})
    target_link_libraries(gpuward_${name} PUBLIC gpuward_flags ${used} ${ARG_LINKS})
    # The anchor is built of the sources of these (SMALL); what else they are in need not be large. The
    # decisions of domain are made for each request of the gateway.
    if(name MATCHES "^(base|os|control|anchor)$" AND CMAKE_BUILD_TYPE STREQUAL Release)
      target_compile_options(gpuward_${name} PRIVATE -Os)
    endif()
    target_precompile_headers(gpuward_${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/precompiled.h)
  else()
    add_library(gpuward_${name} INTERFACE)
    target_include_directories(gpuward_${name} INTERFACE ${door})
    target_link_libraries(gpuward_${name} INTERFACE gpuward_flags ${used} ${ARG_LINKS})
  endif()
endfunction()

# gpuward_program(NAME MAIN file [STATIC] [SMALL] [USES layer...] [LINKS target...])
#   STATIC programs run on any kernel and any libc; sanitized builds are always dynamic. A release
#   of a SMALL one is made from the sources of its layers, optimised for size as a whole.
function(gpuward_program name)
  cmake_parse_arguments(ARG "STATIC;SMALL" "MAIN" "USES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_MAIN})
  if(ARG_SMALL AND CMAKE_BUILD_TYPE STREQUAL Release)
    foreach(layer ${ARG_USES})
      get_target_property(sources gpuward_${layer} SOURCES)
      target_sources(${name} PRIVATE ${sources})
      target_include_directories(${name} PRIVATE ${CMAKE_BINARY_DIR}/include/${layer})
    endforeach()
    target_precompile_headers(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/precompiled.h)
    target_compile_options(${name} PRIVATE -Os -flto)
    target_link_options(${name} PRIVATE -Os -flto=2 -ffunction-sections -fdata-sections)
    set(ARG_USES)
  endif()
  set(used ${ARG_USES})
  list(TRANSFORM used PREPEND gpuward_)
  target_link_libraries(${name} PRIVATE gpuward_flags ${used} ${ARG_LINKS})
  if(NOT GPUWARD_SANITIZE)
    if(ARG_STATIC)
      target_link_options(${name} PRIVATE -static)
    else()
      target_link_options(${name} PRIVATE -static-libstdc++ -static-libgcc)
    endif()
    target_link_options(${name} PRIVATE -s)
  endif()
endfunction()
