// reject 1: blob_store open
// reject 2: blob_store blob_writer commit
// reject 3: blob_store blob_lookup contains
// reject 4: replayable_source rewind
#include <shiplap/store/concept.hpp>

using namespace shiplap;

struct writer {
    void write(bytes_view) {}
    void commit(content_facts const&) {}
};
struct careless_writer {
    void write(bytes_view) {}
};
struct empty_store {
    writer open() { return {}; }
    bool contains(digest const&) const { return false; }
    span_source reader(digest const&) const { return span_source{""}; }
};
struct closed {
    bool contains(digest const&) const { return false; }
    span_source reader(digest const&) const { return span_source{""}; }
};
struct careless : empty_store {
    careless_writer open() { return {}; }
};
struct blind {
    writer open() { return {}; }
    span_source reader(digest const&) const { return span_source{""}; }
};

template <blob_store Store>
struct uses {
    Store store;
};

uses<empty_store> right;
#if REJECT == 1
uses<closed> wrong;
#elif REJECT == 2
uses<careless> wrong;
#elif REJECT == 3
uses<blind> wrong;
#elif REJECT == 4
verified_source<null_source>* wrong;
#endif
