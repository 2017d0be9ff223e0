/* Raw fields: what travels, and what is refused at once. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static peer server;

/* That the request, which the server tells back in hex, has this frame. */
static void check_frame(const anomalyd_client *client, const void *bytes, size_t length)
{
    char hex[4096];
    const unsigned char *byte = bytes;
    size_t idx;
    for (idx = 0; idx < length; ++idx)
        (void)snprintf(hex + 2 * idx, sizeof hex - 2 * idx, "%02x", byte[idx]);
    CHECK_SAYS(anomalyd_detail(client, NULL), hex);
}

static void values_shape_and_type_travel(void)
{
    anomalyd_client *client = open_at(server.endpoint, 5000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    double doubles[2 * 8 * 9];
    float floats[8 * 9];
    const size_t three[] = {2, 8, 9};
    size_t idx;

    for (idx = 0; idx < 2 * 8 * 9; ++idx)
        doubles[idx] = 0.5 * (double)idx - 3.0;
    doubles[4] = NAN; /* a finding, not an error */
    for (idx = 0; idx < 8 * 9; ++idx)
        floats[idx] = 1.0f / (float)(idx + 1);
    CHECK_STATUS(anomalyd_classify_field(client, -7, doubles, ANOMALYD_F64, 3, three, &verdict), ANOMALYD_OK);
    CHECK(verdict.step == -7 && verdict.label == ANOMALYD_NORMAL && verdict.acted == 0);
    check_frame(client, "field", 5);
    check_frame(client, "shape=2x8x9", 11);
    check_frame(client, "dtype=f64", 9);
    check_frame(client, doubles, sizeof doubles);
    CHECK_STATUS(anomalyd_classify_field(client, 8, floats, ANOMALYD_F32, 2, three + 1, &verdict), ANOMALYD_OK);
    check_frame(client, "shape=8x9", 9);
    check_frame(client, "dtype=f32", 9);
    check_frame(client, floats, sizeof floats);
    CHECK_STATUS(anomalyd_classify(client, 9, "/echo", &verdict), ANOMALYD_OK);
    CHECK(strstr(anomalyd_detail(client, NULL), "73686170653d") == NULL); /* no shape= with a path */
    anomalyd_close(client);
}

static void what_is_no_field_is_invalid(void)
{
    anomalyd_client *client = open_at(server.endpoint, 5000, ANOMALYD_FAIL_CLOSED);
    anomalyd_verdict verdict;
    const float values[64] = {0};
    const size_t good[] = {8, 8}, zero[] = {8, 0}, huge[] = {999999999, 999999999, 999999999};

    CHECK_STATUS(anomalyd_classify_field(client, 5, NULL, ANOMALYD_F32, 2, good, &verdict), ANOMALYD_INVALID);
    CHECK(verdict.step == 5 && verdict.label == ANOMALYD_UNKNOWN && verdict.acted == 1 && isnan(verdict.score));
    CHECK(verdict.status == ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "values are NULL");
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, ANOMALYD_F32, 2, NULL, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, (anomalyd_dtype)2, 2, good, &verdict), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "ANOMALYD_F64");
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, ANOMALYD_F32, 0, good, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, ANOMALYD_F32, 5, good, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, ANOMALYD_F32, 2, zero, &verdict), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "extent 2 of the field is 0");
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, ANOMALYD_F64, 3, huge, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, ANOMALYD_F32, 2, good, NULL), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_classify_field(NULL, 5, values, ANOMALYD_F32, 2, good, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_submit(client, 6, "/late/100"), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_classify_field(client, 7, values, ANOMALYD_F32, 2, good, &verdict), ANOMALYD_BUSY);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_OK);
    anomalyd_close(client);
}

static void field_without_a_run_is_invalid(void)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;
    anomalyd_verdict verdict;
    const float values[64] = {0};
    const size_t extents[] = {8, 8};
    options.endpoint = server.endpoint;
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_classify_field(client, 5, values, ANOMALYD_F32, 2, extents, &verdict), ANOMALYD_INVALID);
    CHECK_SAYS(anomalyd_last_error(client), "needs a run");
    anomalyd_close(client);
}

int main(void)
{
    const char *const nothing[] = {NULL};
    peer_start(&server, nothing);
    RUN(values_shape_and_type_travel);
    RUN(what_is_no_field_is_invalid);
    RUN(field_without_a_run_is_invalid);
    peer_kill(&server);
    return check_result();
}
