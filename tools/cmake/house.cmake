# house.cmake — how rooms become libraries and tests. A room links only what is named as its DEPS, so
# a call to a room that is not below it fails to link: the wall needs no guard.

# rq_room(<name> DEPS <rq rooms and imported libraries…>): src/<name>/*.c → static library rq_<name>.
function(rq_room name)
  cmake_parse_arguments(ARG "" "DIR" "DEPS" ${ARGN})
  if(NOT ARG_DIR)
    set(ARG_DIR src/${name})
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ARG_DIR}/*.c)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  if(NOT sources)
    message(STATUS "room ${name}: no sources yet")
    file(WRITE ${CMAKE_BINARY_DIR}/empty/${name}.c "typedef int rq_${name}_is_empty;\n")
    set(sources ${CMAKE_BINARY_DIR}/empty/${name}.c)
  endif()
  add_library(rq_${name} STATIC ${sources})
  target_include_directories(rq_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include)
  target_include_directories(rq_${name} PRIVATE ${CMAKE_SOURCE_DIR}/${ARG_DIR})
  target_link_libraries(rq_${name} PUBLIC rq_flags ${ARG_DEPS})
endfunction()

# What several tests share (tests/support/*.c). It names no room to link: an object is taken only by a test that calls
# it, and finds what it needs in that test's own libraries.
function(rq_test_support)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/*.c)
  add_library(rq_test_support STATIC ${sources})
  target_include_directories(rq_test_support PRIVATE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/sim)
  target_link_libraries(rq_test_support PUBLIC rq_flags PkgConfig::CMOCKA)
endfunction()

# rq_tests(<room> LINK <libraries…>): every tests/unit/<room>/test_*.c becomes one cmocka program that
# links that room (and, for world rooms, an environment) and nothing else.
function(rq_tests room)
  cmake_parse_arguments(ARG "" "DIR" "LINK" ${ARGN})
  if(NOT ARG_DIR)
    set(ARG_DIR tests/unit/${room})
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ARG_DIR}/test_*.c)
  foreach(source ${sources})
    get_filename_component(stem ${source} NAME_WE)
    set(target ${room}_${stem})
    add_executable(${target} ${source})
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src/${room} ${CMAKE_SOURCE_DIR}/tests/support
                                                 ${CMAKE_SOURCE_DIR}/sim)
    target_link_libraries(${target} PRIVATE rq_test_support rq_${room} ${ARG_LINK} PkgConfig::CMOCKA)
    add_test(NAME ${room}/${stem} COMMAND ${target} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${room}/${stem} PROPERTIES TIMEOUT 600 LABELS unit)
  endforeach()
endfunction()
