// reject 1: credential_source finds_credentials forgetful find
#include <shiplap/registry/credential.hpp>

using namespace shiplap;

struct one_for_all {
    std::optional<credential> find(registry_access const&) const { return credential{"me", secret{"x"}}; }
};
struct forgetful {
    std::optional<credential> remember(registry_access const&) const { return {}; }
};

template <credential_source Source>
struct uses {
    Source source;
};

uses<one_for_all> right;
#if REJECT == 1
uses<forgetful> wrong;
#endif
