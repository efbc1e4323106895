# The Python package as it is developed: PYTHONPATH=build/python. Wheels are made by setup.py.
#
# One extension serves all Pythons from 3.11 on (the limited API); the command is inside, too.
if(STERNA_FUZZ)
  return() # clang's fuzzing runtime is in a program, not in a module
endif()
file(GLOB CORE_SOURCES CONFIGURE_DEPENDS python/core/*.c)
file(GLOB COMMAND_SOURCES CONFIGURE_DEPENDS cli/*.c)
list(FILTER COMMAND_SOURCES EXCLUDE REGEX "/main\\.c$")
set(PYTHON_PACKAGE ${CMAKE_CURRENT_BINARY_DIR}/python/sterna)
set(CORE_EXPORTS ${CMAKE_CURRENT_SOURCE_DIR}/python/core/exports.map)

add_library(sterna_python MODULE ${CORE_SOURCES} ${COMMAND_SOURCES})
set_target_properties(
  sterna_python
  PROPERTIES OUTPUT_NAME _core PREFIX "" SUFFIX .abi3.so C_VISIBILITY_PRESET hidden
             LIBRARY_OUTPUT_DIRECTORY ${PYTHON_PACKAGE} LINK_DEPENDS ${CORE_EXPORTS})
# Python's tables hold functions in pointers to void.
set_source_files_properties(${CORE_SOURCES} PROPERTIES COMPILE_OPTIONS -Wno-pedantic)
target_include_directories(sterna_python PRIVATE cli src) # of src: how DLPack lies in memory
target_include_directories(sterna_python SYSTEM PRIVATE ${Python3_INCLUDE_DIRS})
target_link_libraries(sterna_python PRIVATE sterna_static)
target_link_options(sterna_python PRIVATE -Wl,--version-script=${CORE_EXPORTS})

# The package's other files, where they are: an edit needs no build.
file(GLOB PACKAGE_FILES CONFIGURE_DEPENDS python/sterna/*)
list(FILTER PACKAGE_FILES EXCLUDE REGEX "/__pycache__$")
file(MAKE_DIRECTORY ${PYTHON_PACKAGE})
foreach(path ${PACKAGE_FILES})
  get_filename_component(name ${path} NAME)
  file(CREATE_LINK ${path} ${PYTHON_PACKAGE}/${name} SYMBOLIC)
endforeach()
