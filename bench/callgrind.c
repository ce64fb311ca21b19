/* The two marks that counted.py sets around what is counted, as calls that Python can make by ctypes.  They are requests to
   valgrind (instructions that do nothing elsewhere); bench/instructions.py compiles this beside its results. */

#include <valgrind/callgrind.h>

void count_begin(void)
{
    CALLGRIND_ZERO_STATS;
    CALLGRIND_START_INSTRUMENTATION;
}

void count_end(const char *name)
{
    CALLGRIND_STOP_INSTRUMENTATION;
    CALLGRIND_DUMP_STATS_AT(name);
}
