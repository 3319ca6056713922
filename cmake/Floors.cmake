# One library a folder under src/, and the rule that no folder includes one above or beside it (DEPENDS is the whole list).
set_property(GLOBAL PROPERTY FATHOM_FLOORS "")

function(fathom_sources out folder)
  file(GLOB_RECURSE found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.cc)
  set(${out} ${found} PARENT_SCOPE)
endfunction()

function(fathom_record_floor folder)
  set_property(GLOBAL APPEND PROPERTY FATHOM_FLOORS "${folder}")
  set_property(GLOBAL PROPERTY FATHOM_FLOOR_${folder} "${folder};${ARGN}")
endfunction()

function(fathom_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES" ${ARGN})
  fathom_sources(sources ${name})
  list(TRANSFORM ARG_DEPENDS PREPEND fathom_ OUTPUT_VARIABLE below)
  if(sources)
    add_library(fathom_${name} STATIC ${sources})
    target_include_directories(fathom_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(fathom_${name} PUBLIC ${below} ${ARG_LIBRARIES} PRIVATE fathom_options)
  else()  # headers alone
    add_library(fathom_${name} INTERFACE)
    target_include_directories(fathom_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(fathom_${name} INTERFACE ${below} ${ARG_LIBRARIES})
  endif()
  fathom_record_floor(${name} ${ARG_DEPENDS})
endfunction()

function(fathom_program name folder)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES" ${ARGN})
  fathom_sources(sources ${folder})
  add_executable(${name} ${sources})
  list(TRANSFORM ARG_DEPENDS PREPEND fathom_ OUTPUT_VARIABLE below)
  target_link_libraries(${name} PRIVATE ${below} ${ARG_LIBRARIES} fathom_options)
  target_compile_definitions(${name} PRIVATE FATHOM_VERSION="${PROJECT_VERSION}"
                                             FATHOM_DATA_DIR="${CMAKE_SOURCE_DIR}/data")
  fathom_record_floor(${folder} ${ARG_DEPENDS})
endfunction()

# Runs on every build: reads the #include lines of each floor and fails on one that reaches up.
function(fathom_check_floors)
  get_property(floors GLOBAL PROPERTY FATHOM_FLOORS)
  set(rules "")
  foreach(floor ${floors})
    get_property(allowed GLOBAL PROPERTY FATHOM_FLOOR_${floor})
    string(REPLACE ";" "," allowed "${allowed}")
    list(APPEND rules "${floor}=${allowed}")
  endforeach()
  string(REPLACE ";" "|" rules "${rules}")
  file(GLOB_RECURSE inputs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/*.h ${CMAKE_SOURCE_DIR}/src/*.cc)
  set(stamp ${CMAKE_BINARY_DIR}/floors.stamp)
  add_custom_command(
    OUTPUT ${stamp}
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR}/src "-DRULES=${rules}" -DSTAMP=${stamp}
            -P ${CMAKE_SOURCE_DIR}/cmake/CheckFloors.cmake
    DEPENDS ${inputs} ${CMAKE_SOURCE_DIR}/cmake/CheckFloors.cmake
    COMMENT "Checking that no floor includes one above it"
    VERBATIM)
  add_custom_target(check_floors ALL DEPENDS ${stamp})
endfunction()
