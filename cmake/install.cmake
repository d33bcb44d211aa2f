# What `cmake --install` puts where: the header, both libraries, what
# pkg-config and find_package need, and the man pages.
include(CMakePackageConfigHelpers)

set(ADB_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/albertdb)
set(ADB_PKGCONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/albertdb
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS albertdb_static albertdb_shared EXPORT albertdb
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT albertdb NAMESPACE albertdb:: FILE albertdbTargets.cmake
        DESTINATION ${ADB_CMAKE_DIR})

configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/albertdbConfig.cmake.in
  ${PROJECT_BINARY_DIR}/albertdbConfig.cmake
  INSTALL_DESTINATION ${ADB_CMAKE_DIR})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/albertdbConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/albertdbConfig.cmake
              ${PROJECT_BINARY_DIR}/albertdbConfigVersion.cmake
        DESTINATION ${ADB_CMAKE_DIR})

# The prefix is chosen when installing, after this runs: the file finds it by
# its own place.
file(RELATIVE_PATH ADB_PC_PREFIX /${ADB_PKGCONFIG_DIR} /)
string(REGEX REPLACE "/$" "" ADB_PC_PREFIX "${ADB_PC_PREFIX}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/albertdb.pc.in
               ${PROJECT_BINARY_DIR}/albertdb.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/albertdb.pc
        DESTINATION ${ADB_PKGCONFIG_DIR})

foreach(section 1 3 5 7)
  file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.${section})
  if(pages)
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endif()
endforeach()
