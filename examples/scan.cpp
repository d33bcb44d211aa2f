// From C++: a batch, then a range of keys through an iterator.
#include <albertdb/albertdb.h>

#include <cstdio>
#include <memory>
#include <string>

namespace {

struct BatchFree {
    void operator()(adb_batch *batch) const { adb_batch_free(batch); }
};
struct IterFree {
    void operator()(adb_iter *iter) const { adb_iter_free(iter); }
};

bool fill(adb *db)
{
    std::unique_ptr<adb_batch, BatchFree> batch(adb_batch_new());
    bool ok = batch != nullptr;
    for (std::string name : {"ada", "bob", "eve"}) {
        const std::string key = "user/" + name;
        ok = ok && adb_batch_put(batch.get(), key.data(), key.size(),
                                 name.data(), name.size()) == ADB_OK;
    }
    return ok && adb_write(db, nullptr, batch.get()) == ADB_OK;
}

bool list(adb *db)
{
    adb_iter_options options = ADB_ITER_OPTIONS_INIT;
    options.prefix = adb_slice{"user/", 5};
    adb_iter *raw = nullptr;
    if (adb_iter_new(db, &options, &raw) != ADB_OK)
        return false;
    std::unique_ptr<adb_iter, IterFree> iter(raw);
    for (int on = adb_iter_seek_first(raw); on; on = adb_iter_next(raw)) {
        const adb_slice key = adb_iter_key(raw);
        const adb_slice value = adb_iter_value(raw);
        std::printf("%.*s = %.*s\n", static_cast<int>(key.size),
                    static_cast<const char *>(key.data),
                    static_cast<int>(value.size),
                    static_cast<const char *>(value.data));
    }
    return adb_iter_status(raw) == ADB_OK;
}

} // namespace

int main()
{
    adb *db = nullptr;
    bool ok = adb_open("./data", nullptr, &db) == ADB_OK;
    ok = ok && fill(db) && list(db);
    if (!ok)
        std::fprintf(stderr, "%s\n", adb_error_message());
    if (db && adb_close(db) != ADB_OK)
        ok = false;
    return ok ? 0 : 1;
}
