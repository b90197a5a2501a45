// reject 1: progress_observer shouts
#include <shiplap/bytes/progress.hpp>

struct listens {
    void operator()(shiplap::progress_event const&) const {}
};
struct shouts {
    void operator()(int) const {}
};

listens good;
shiplap::progress_ref right{good};
#if REJECT == 1
shouts bad;
shiplap::progress_ref wrong{bad};
#endif
