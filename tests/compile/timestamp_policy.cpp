// reject 1: timestamp_policy forgets
#include <shiplap/tar/timestamps.hpp>

struct midnight {
    shiplap::timestamp operator()(shiplap::timestamp) const { return {}; }
};
struct forgets {
    void operator()(shiplap::timestamp) const {}
};

midnight good;
shiplap::timestamps_ref right{good};
#if REJECT == 1
forgets bad;
shiplap::timestamps_ref wrong{bad};
#endif
