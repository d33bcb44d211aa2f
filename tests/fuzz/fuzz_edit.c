/* version/version_edit.h: whatever decodes encodes to bytes that decode to the
   same edit again. Mode: unused. */
#include "fuzz.h"
#include "version/version_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct version_edit edit = {0}, again = {0};
    struct buffer first = {0}, second = {0};
    fuzz_watch_allocations();
    if (!size)
        return 0;
    if (fuzz_expect_words(version_edit_decode(
            slice_of(data + 1, size - 1), &edit)) == ADB_OK) {
        FUZZ_CHECK(version_edit_encode(&edit, &first) == ADB_OK);
        FUZZ_CHECK(version_edit_decode(buffer_slice(&first), &again) ==
                   ADB_OK);
        FUZZ_CHECK(version_edit_encode(&again, &second) == ADB_OK);
        FUZZ_CHECK(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    }
    version_edit_deinit(&edit);
    version_edit_deinit(&again);
    buffer_deinit(&first);
    buffer_deinit(&second);
    return 0;
}
