#include "catalog/layout.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "selection files are mapped as they are: little-endian machines only"
#endif

#define SECTION_ALIGN 64

size_t stn_section_row_bytes(uint32_t n_fields, size_t section) {
    static const size_t column[STN_SELECTION_COLUMN_SECTIONS] = {1, 8, 0};
    if (section == 0) return 16;
    if (section < stn_section_labels(n_fields)) return 4;
    if (section == stn_section_labels(n_fields)) return 8;
    return column[(section - stn_section_column(n_fields, 0)) % STN_SELECTION_COLUMN_SECTIONS];
}

static uint64_t align(uint64_t offset) {
    return (offset + SECTION_ALIGN - 1) / SECTION_ALIGN * SECTION_ALIGN;
}

void stn_selection_place(struct stn_selection_header *h) {
    struct stn_writer measure = {0};
    stn_selection_put_header(&measure, h);
    uint64_t at = measure.used;
    for (size_t i = 0; i < stn_section_count(h->n_fields, h->n_columns); i++) {
        size_t row_bytes = stn_section_row_bytes(h->n_fields, i);
        if (row_bytes > 0) h->sections[i].bytes = h->n * row_bytes;
        h->sections[i].offset = align(at);
        at = h->sections[i].offset + h->sections[i].bytes;
    }
    h->file_bytes = align(at) + STN_SELECTION_TRAILER_BYTES;
}

static void put_body(struct stn_writer *w, const struct stn_selection_header *h,
                     uint32_t header_bytes) {
    stn_put_bytes(w, STN_SELECTION_MAGIC, 8);
    stn_put_u32(w, STN_SELECTION_VERSION);
    stn_put_u32(w, header_bytes);
    stn_put_bytes(w, h->dataset_id, 16);
    stn_put_u64(w, h->run);
    stn_put_u64(w, h->n);
    stn_put_u64(w, h->n_bytes);
    stn_put_u32(w, h->max_bytes);
    stn_put_u32(w, h->n_fields);
    stn_put_u32(w, h->n_columns);
    stn_put_u32(w, h->where_bytes);
    stn_put_bytes(w, h->hash, STERNA_HASH_BYTES);
    stn_put_u64(w, h->file_bytes);
    stn_put_bytes(w, h->where, h->where_bytes);
    for (uint32_t i = 0; i < h->n_columns; i++) {
        size_t bytes = strlen(h->columns[i]);
        stn_put_u32(w, (uint32_t)bytes);
        stn_put_bytes(w, h->columns[i], bytes);
    }
    for (size_t i = 0; i < stn_section_count(h->n_fields, h->n_columns); i++) {
        stn_put_u64(w, h->sections[i].offset);
        stn_put_u64(w, h->sections[i].bytes);
    }
}

void stn_selection_put_header(struct stn_writer *w, const struct stn_selection_header *h) {
    struct stn_writer measure = {0};
    put_body(&measure, h, 0);
    size_t start = w->used, header_bytes = measure.used + 4;
    put_body(w, h, (uint32_t)header_bytes);
    int fits = w->used <= w->cap && w->to;
    stn_put_u32(w, fits ? stn_crc32c(0, w->to + start, w->used - start) : 0);
}
