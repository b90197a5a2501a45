# Runs `program` in a fresh `directory` and compares its standard output with the file `expected`.

file(REMOVE_RECURSE "${directory}")
file(MAKE_DIRECTORY "${directory}")
execute_process(COMMAND "${program}" WORKING_DIRECTORY "${directory}"
    RESULT_VARIABLE status OUTPUT_FILE "${directory}.output" ERROR_VARIABLE messages)
if(messages)
    message("${messages}")
endif()
if(NOT status EQUAL 0)
    message(FATAL_ERROR "exit status ${status}")
endif()
execute_process(COMMAND diff -u "${expected}" "${directory}.output" RESULT_VARIABLE different)
if(different)
    message(FATAL_ERROR "Standard output differs. If that is right: cp '${directory}.output' '${expected}'")
endif()
