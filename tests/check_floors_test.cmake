# The floor check must fail on a folder that reaches up, and pass when it does not.
set(root ${CMAKE_CURRENT_BINARY_DIR}/check_floors_test)
file(MAKE_DIRECTORY ${root}/src/low ${root}/src/high)
set(check ${CMAKE_COMMAND} -DSOURCE=${root}/src -DRULES=low=low|high=high,low -DSTAMP=${root}/stamp
          -P ${SOURCE_DIR}/cmake/CheckFloors.cmake)
file(WRITE ${root}/src/high/a.h "#include \"low/b.h\"\n")
file(WRITE ${root}/src/low/b.h "#include <vector>\n")
execute_process(COMMAND ${check} RESULT_VARIABLE good OUTPUT_QUIET ERROR_VARIABLE said)
file(WRITE ${root}/src/low/b.h "#include \"high/a.h\"\n")
execute_process(COMMAND ${check} RESULT_VARIABLE bad OUTPUT_QUIET ERROR_VARIABLE said)
file(REMOVE_RECURSE ${root})
if(NOT good EQUAL 0 OR bad EQUAL 0 OR NOT said MATCHES "low/b.h")
  message(FATAL_ERROR "the floor check passed a violation or refused a clean tree: ${good} ${bad} ${said}")
endif()
