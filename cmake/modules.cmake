# How a folder of src/ becomes a module, and all modules the library.

add_library(adb_flags INTERFACE)
target_compile_definitions(adb_flags INTERFACE _GNU_SOURCE
                           ADB_VERSION_STRING="${PROJECT_VERSION}")
target_compile_options(adb_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wpointer-arith -Wvla -Wwrite-strings -Wundef -Wconversion
  -Wno-sign-conversion -Wformat=2 -fvisibility=hidden -fno-strict-aliasing)
target_include_directories(adb_flags INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
if(ADB_SANITIZE)
  target_compile_options(adb_flags INTERFACE -fsanitize=${ADB_SANITIZE}
                         -fno-omit-frame-pointer -g)
  target_link_options(adb_flags INTERFACE -fsanitize=${ADB_SANITIZE})
  if(ADB_SANITIZE MATCHES "undefined")
    target_compile_options(adb_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

# adb_count(target): counts what is executed in its sources, branch by branch
# (scripts/coverage.py). Unoptimized, so that each condition of the source is a
# branch of its own; atomic, since many threads count.
if(ADB_COVERAGE)
  target_link_options(adb_flags INTERFACE --coverage)
endif()
function(adb_count target)
  if(ADB_COVERAGE)
    target_compile_options(${target} PRIVATE -O0 --coverage
                           -fprofile-update=atomic -fprofile-abs-path)
  endif()
endfunction()

set(ADB_MODULES "" CACHE INTERNAL "")

# adb_module(name deps...): src/name/*.c as an object library.
function(adb_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
  set(all ${ADB_MODULES} ${name})
  set(ADB_MODULES "${all}" CACHE INTERNAL "")
  if(NOT sources)
    add_library(adb_${name} INTERFACE)
    target_link_libraries(adb_${name} INTERFACE adb_flags)
    foreach(dep ${ARGN})
      target_link_libraries(adb_${name} INTERFACE adb_${dep})
    endforeach()
    return()
  endif()
  add_library(adb_${name} STATIC ${sources})
  adb_count(adb_${name})
  target_link_libraries(adb_${name} PUBLIC adb_flags PkgConfig::XXHASH
    PkgConfig::LZ4 PkgConfig::ZSTD Threads::Threads)
  foreach(dep ${ARGN})
    target_link_libraries(adb_${name} PUBLIC adb_${dep})
  endforeach()
endfunction()

# The library proper: every module's sources once more, as one static and one
# shared library that export only what the version script names.
function(adb_library)
  set(sources "")
  foreach(name ${ADB_MODULES})
    file(GLOB more CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
    list(APPEND sources ${more})
  endforeach()
  if(NOT sources)
    return()
  endif()
  add_library(albertdb_objects OBJECT ${sources})
  target_link_libraries(albertdb_objects PUBLIC adb_flags PkgConfig::XXHASH
    PkgConfig::LZ4 PkgConfig::ZSTD Threads::Threads)
  foreach(kind STATIC SHARED)
    string(TOLOWER ${kind} suffix)
    add_library(albertdb_${suffix} ${kind}
                $<TARGET_OBJECTS:albertdb_objects>)
    target_link_libraries(albertdb_${suffix} PRIVATE
      $<BUILD_INTERFACE:adb_flags> PkgConfig::XXHASH PkgConfig::LZ4
      PkgConfig::ZSTD Threads::Threads)
    target_include_directories(albertdb_${suffix} PUBLIC
      $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    set_target_properties(albertdb_${suffix} PROPERTIES OUTPUT_NAME albertdb
                          EXPORT_NAME albertdb_${suffix})
  endforeach()
  set_target_properties(albertdb_shared PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION 0
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/albertdb.map)
  target_link_options(albertdb_shared PRIVATE
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/albertdb.map)
endfunction()
