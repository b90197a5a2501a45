// reject 1: image_sink finds_content exists
// reject 2: image_sink takes_content put
// reject 3: image_sink takes_names tag
// reject 4: image_sink commits commit
#include <shiplap/sink/concept.hpp>

using namespace shiplap;

struct finds {
    bool exists(descriptor const&) const { return false; }
};
struct takes {
    void put(descriptor const&, replayable_source_ref) {}
};
struct names {
    void tag(descriptor const&, image_name const&) {}
};
struct publishes {
    void commit() {}
};
struct nowhere : finds, takes, names, publishes {};
struct forgetful : takes, names, publishes {};
struct full : finds, names, publishes {};
struct anonymous : finds, takes, publishes {};
struct undecided : finds, takes, names {};

template <image_sink Sink>
struct uses {
    Sink sink;
};

uses<nowhere> right;
#if REJECT == 1
uses<forgetful> wrong;
#elif REJECT == 2
uses<full> wrong;
#elif REJECT == 3
uses<anonymous> wrong;
#elif REJECT == 4
uses<undecided> wrong;
#endif
