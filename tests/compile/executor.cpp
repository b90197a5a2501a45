// reject 1: executor post lazy
#include <shiplap/bytes/executor.hpp>

struct eager {
    unsigned concurrency() const { return 1; }
    void post(std::function<void()> const& task) { task(); }
};
struct lazy {
    unsigned concurrency() const { return 1; }
};

eager good;
shiplap::executor_ref right{good};
#if REJECT == 1
lazy bad;
shiplap::executor_ref wrong{bad};
#endif
