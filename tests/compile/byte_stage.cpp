// reject 1: byte_stage writes_into write
// reject 2: byte_stage finishes_into finish
#include <shiplap/bytes/concept.hpp>

struct identity {
    void write(shiplap::bytes_view in, shiplap::byte_sink auto& out) { out.write(in); }
    void finish(shiplap::byte_sink auto&) {}
};
struct keeps_its_output { // instead of being given it
    void write(shiplap::bytes_view) {}
    void finish(shiplap::byte_sink auto&) {}
};
struct never_finishes {
    void write(shiplap::bytes_view in, shiplap::byte_sink auto& out) { out.write(in); }
};

template <shiplap::byte_stage Stage>
struct uses {
    Stage stage;
};

uses<identity> right;
#if REJECT == 1
uses<keeps_its_output> wrong;
#elif REJECT == 2
uses<never_finishes> wrong;
#endif
