# What `make install` puts where, and how other projects find it: pkg-config and find_package.
include(CMakePackageConfigHelpers)

# Both descriptions find the prefix from where they lie, so an installed tree can be moved.
set(PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sterna)
file(RELATIVE_PATH PREFIX_FROM_PC /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" PREFIX_FROM_PC "${PREFIX_FROM_PC}")
list(JOIN STERNA_DEPS_MODULES " " PC_REQUIRES)
configure_file(cmake/sterna.pc.in sterna.pc @ONLY)
configure_package_config_file(cmake/sternaConfig.cmake.in sternaConfig.cmake
                              INSTALL_DESTINATION ${PACKAGE_DIR})
write_basic_package_version_file(sternaConfigVersion.cmake COMPATIBILITY SameMinorVersion)

install(DIRECTORY include/sterna DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/include/sterna/version.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sterna)
install(TARGETS sterna EXPORT sternaTargets)
install(TARGETS sterna_static EXPORT sternaStaticTargets)
foreach(set sternaTargets sternaStaticTargets)
  install(EXPORT ${set} NAMESPACE sterna:: DESTINATION ${PACKAGE_DIR})
endforeach()
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sternaConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/sternaConfigVersion.cmake DESTINATION ${PACKAGE_DIR})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sterna.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET sterna_cli)
  install(TARGETS sterna_cli)
endif()
install(FILES README.md LICENSE docs/design.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
