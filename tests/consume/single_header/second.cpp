#ifdef SINGLE_HEADER
#include <shiplap/shiplap_curl.hpp>
#else
#include <shiplap/shiplap.hpp>
#endif

// Uses what the other translation unit uses too.
std::string digest_elsewhere(std::string_view text) {
    return shiplap::digest::of<shiplap::sha256>(shiplap::as_bytes(text)).text();
}
