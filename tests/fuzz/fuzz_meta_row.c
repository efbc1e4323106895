/* What lies in a cluster's tables as text and maps, and other clients may have written: names, and
 * samples' rows. What is taken is written and read again as it was.
 *
 * Input: u8, bit 7 set: names follow; else so many bytes of a row's map, and then its JSON. */
#include <string.h>

#include "cassandra/meta_row.h"
#include "fuzz/fuzz.h"

static void check_names(const char *text, size_t bytes) {
    struct stn_dictionary d, again;
    struct stn_json_out once = {0}, twice = {0};
    struct sterna_error err = {0};
    int rc = stn_dictionary_parse(&d, text, bytes, &err);
    claim(rc == STERNA_OK || (err.code == rc && err.message[0]));
    if (rc < 0) return;
    for (size_t i = 0; i < d.n_classes; i++)
        claim(stn_dictionary_class(&d, d.classes[i]) == (long)i);
    stn_dictionary_write(&d, &once);
    claim(stn_dictionary_parse(&again, once.text, once.bytes, NULL) == STERNA_OK);
    stn_dictionary_write(&again, &twice);
    claim(once.bytes == twice.bytes && memcmp(once.text, twice.text, once.bytes) == 0);
    stn_json_out_fini(&once);
    stn_json_out_fini(&twice);
    stn_dictionary_fini(&d);
    stn_dictionary_fini(&again);
}

static void check_same(const struct sterna_value *a, const struct sterna_value *b) {
    claim(a->type == b->type);
    if (a->type == STERNA_INT) claim(a->i == b->i);
    if (a->type == STERNA_REAL) claim(memcmp(&a->r, &b->r, sizeof a->r) == 0);
    if (a->type != STERNA_TEXT) return;
    fuzz_touch(a->text, a->text_bytes);
    claim(a->text_bytes == b->text_bytes && memcmp(a->text, b->text, a->text_bytes) == 0);
}

static void check_row(const struct stn_dictionary *names, struct stn_cql_value *values) {
    struct stn_meta_reader first, second;
    struct stn_meta_writer w = {0};
    struct stn_row row, back;
    int belongs;
    const char *why = NULL;
    claim(stn_meta_reader_init(&first, names) == STERNA_OK);
    claim(stn_meta_reader_init(&second, names) == STERNA_OK);
    int rc = stn_meta_read(&first, values, &row, &belongs, &why);
    claim(rc == STERNA_OK || (rc == STERNA_EFORMAT && why));
    if (rc == STERNA_OK) {
        claim(stn_meta_write(&w, &row, belongs) == STERNA_OK);
        claim(stn_meta_read(&second, w.values, &back, &belongs, &why) == STERNA_OK);
        claim(row.n_cells == back.n_cells && memcmp(row.id, back.id, 16) == 0);
        for (size_t i = 0; i < row.n_cells; i++)
            check_same(&row.cells[i].value, &back.cells[i].value);
    }
    stn_meta_writer_fini(&w);
    stn_meta_reader_fini(&first);
    stn_meta_reader_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char names_text[] =
        "{\"fields\":[\"image:image\",\"mask:mask\"],\"columns\":[\"a\",\"score\",\"b_bytes\"]}";
    struct stn_dictionary names;
    struct stn_cql_value values[STN_META_COLUMNS];
    if (size == 0) return 0;
    if (data[0] & 0x80) {
        check_names((const char *)data + 1, size - 1);
        return 0;
    }
    size_t map_bytes = STN_MIN((size_t)data[0], size - 1);
    for (size_t i = 0; i < STN_META_COLUMNS; i++) values[i] = stn_value_null();
    values[STN_META_ID] = stn_value_of("0123456789abcdef", 16);
    if (map_bytes) values[STN_META_BYTES] = stn_value_of(data + 1, map_bytes);
    if (size > 1 + map_bytes)
        values[STN_META_MORE] = stn_value_of(data + 1 + map_bytes, size - 1 - map_bytes);
    claim(stn_dictionary_parse(&names, names_text, sizeof names_text - 1, NULL) == STERNA_OK);
    check_row(&names, values);
    stn_dictionary_fini(&names);
    return 0;
}
