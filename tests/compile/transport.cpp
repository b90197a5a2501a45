// reject 1: transport send deaf
// reject 2: transport send mute
#include <shiplap/registry/concept.hpp>

struct silent {
    shiplap::http_response send(shiplap::http_request const&) {
        return {404, {}, shiplap::any_byte_source{shiplap::null_source{}}};
    }
};
struct deaf {};
struct mute {
    int send(shiplap::http_request const&) { return 404; } // a status is no response
};

template <shiplap::transport T>
int status(T transport, shiplap::http_request const& request) {
    return transport.send(request).status;
}

int use(shiplap::http_request const& request) {
#if REJECT == 1
    return status(deaf{}, request);
#elif REJECT == 2
    return status(mute{}, request);
#endif
    return status(silent{}, request);
}
