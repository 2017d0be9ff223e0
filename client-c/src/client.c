/* The public functions: arguments are checked here, and verdicts made. */
#define _POSIX_C_SOURCE 200809L
#include "client.h"
#include "clock.h"
#include "exchange.h"
#include "open.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static anomalyd_status take_detail(anomalyd_client *client)
{
    size_t length;
    const char *bytes = anomalyd_reply_frame(&client->reply, 9, &length);

    if (length + 1 > client->detail_capacity) {
        char *grown = realloc(client->detail, length + 1);
        if (grown == NULL)
            return ANOMALYD_NO_MEMORY;
        client->detail = grown;
        client->detail_capacity = length + 1;
    }
    memcpy(client->detail, bytes, length);
    client->detail[length] = '\0';
    client->detail_length = length;
    return ANOMALYD_OK;
}

/* Keeps what the reply says beside the verdict. The text is frame 8 in every version (PROTOCOL.md 5.1). */
static anomalyd_status take_words(anomalyd_client *client, anomalyd_status status)
{
    size_t length, idx;
    const char *bytes = anomalyd_reply_frame(&client->reply, 8, &length);

    if (length > ANOMALYD_MAX_TEXT)
        length = ANOMALYD_MAX_TEXT;
    memcpy(client->text, bytes, length);
    client->text[length] = '\0';
    for (idx = 0; idx < length; ++idx)
        if ((unsigned char)client->text[idx] < 0x20 || client->text[idx] == 0x7f)
            client->text[idx] = '?'; /* one line, in whatever log it ends */
    if (take_detail(client) != ANOMALYD_OK)
        return anomalyd_problem_set(&client->problem, ANOMALYD_NO_MEMORY, "no memory for the reply's detail");
    if (status == ANOMALYD_OK)
        return anomalyd_problem_none(&client->problem);
    return anomalyd_problem_set(&client->problem, status, "the daemon answers %d, %s: %s", (int)status,
                                anomalyd_strerror(status), client->text);
}

/* Whether the status came over the wire, so that the reply's words belong to it. */
static bool is_from_daemon(anomalyd_status status)
{
    return (int)status >= 100;
}

static void no_verdict(const anomalyd_client *client, int64_t step, anomalyd_verdict *verdict)
{
    memset(verdict, 0, sizeof *verdict);
    verdict->step = step;
    verdict->score = NAN;
    verdict->threshold = NAN;
    verdict->label = ANOMALYD_UNKNOWN;
    verdict->status = ANOMALYD_INVALID;
    verdict->acted = client != NULL && client->policy == ANOMALYD_FAIL_CLOSED;
}

/* Completes the verdict of a call that has ended. */
static anomalyd_status conclude(anomalyd_client *client, anomalyd_status status, anomalyd_verdict *verdict)
{
    if (is_from_daemon(status))
        status = take_words(client, status);
    verdict->status = status;
    verdict->acted =
        verdict->label == ANOMALYD_ANOMALOUS || (status != ANOMALYD_OK && client->policy == ANOMALYD_FAIL_CLOSED);
    verdict->restarted = 0;
    if (verdict->instance[0] != '\0') {
        verdict->restarted = client->last_instance[0] != '\0' && strcmp(client->last_instance, verdict->instance) != 0;
        memcpy(client->last_instance, verdict->instance, sizeof client->last_instance);
    }
    return status;
}

/* Whether the handle can be used here and now. */
static anomalyd_status check_client(anomalyd_client *client)
{
    if (client == NULL)
        return ANOMALYD_INVALID;
    if (client->owner != getpid())
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                    "the client was opened by process %ld, before a "
                                    "fork: open another in this one",
                                    (long)client->owner);
    return anomalyd_problem_none(&client->problem);
}

static anomalyd_status check_free(anomalyd_client *client)
{
    anomalyd_status status = check_client(client);
    if (status == ANOMALYD_OK && client->exchange.in_flight)
        status = anomalyd_problem_set(&client->problem, ANOMALYD_BUSY,
                                      "a submitted request is in flight: call "
                                      "anomalyd_wait() first");
    return status;
}

/* Copies the path, completed to an absolute one, into the request. */
static anomalyd_status set_path(anomalyd_client *client, const char *path)
{
    char *subject = client->exchange.request.subject;
    size_t length, used = 0;

    if (path == NULL || *path == '\0')
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "the image's path is empty");
    length = strlen(path);
    if (*path != '/' && length <= ANOMALYD_MAX_PATH) {
        if (getcwd(subject, ANOMALYD_MAX_PATH + 1) == NULL)
            return anomalyd_problem_set(
                &client->problem, errno == ERANGE ? ANOMALYD_INVALID : ANOMALYD_SYSTEM,
                "the image's path is relative, and the working directory cannot be had: %s; give "
                "an absolute path",
                strerror(errno));
        used = strlen(subject);
        if (used < ANOMALYD_MAX_PATH && subject[used - 1] != '/')
            subject[used++] = '/';
    }
    if (used + length > ANOMALYD_MAX_PATH)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                    "the image's path has %lu bytes, the limit is %d", (unsigned long)(used + length),
                                    ANOMALYD_MAX_PATH);
    memcpy(subject + used, path, length + 1);
    return ANOMALYD_OK;
}

/* Puts a field into the request, its extents as the option that travels. */
static anomalyd_status set_field(anomalyd_client *client, const void *values, anomalyd_dtype dtype, int n_extents,
                                 const size_t *extents)
{
    static const uint16_t one = 1;
    anomalyd_request *request = &client->exchange.request;
    size_t length = dtype == ANOMALYD_F32 ? 4 : 8, used;
    int idx;

    if (*(const unsigned char *)&one != 1)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                    "values travel with the lowest byte first, and this machine has it last: hand "
                                    "over a path");
    if (values == NULL || extents == NULL)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "the field's %s are NULL",
                                    values == NULL ? "values" : "extents");
    if (dtype != ANOMALYD_F32 && dtype != ANOMALYD_F64)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                    "dtype is %d, expected ANOMALYD_F32 or ANOMALYD_F64", (int)dtype);
    if (n_extents < 1 || n_extents > 4)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "the field has %d extents, expected 1 to 4",
                                    n_extents);
    used = (size_t)snprintf(request->shape, sizeof request->shape, "shape=");
    for (idx = 0; idx < n_extents; ++idx) {
        if (extents[idx] < 1 || extents[idx] > 999999999 || length > SIZE_MAX / extents[idx])
            return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                        "extent %d of the field is %lu, expected 1 to 999999999, and a size in "
                                        "memory",
                                        idx + 1, (unsigned long)extents[idx]);
        length *= extents[idx];
        used += (size_t)snprintf(request->shape + used, sizeof request->shape - used, "%s%lu", idx > 0 ? "x" : "",
                                 (unsigned long)extents[idx]);
    }
    request->dtype = dtype == ANOMALYD_F32 ? "dtype=f32" : "dtype=f64";
    request->values = values;
    request->values_length = length;
    return ANOMALYD_OK;
}

/* Sends a command that has no verdict and waits for its status. */
static anomalyd_status command(anomalyd_client *client, anomalyd_command word, int64_t step)
{
    anomalyd_verdict ignored;
    anomalyd_status status;

    client->exchange.request.command = word;
    no_verdict(client, step, &ignored);
    anomalyd_exchange_begin(client, step);
    status = anomalyd_exchange_drive(client, ANOMALYD_UNTIL_DONE, &ignored);
    return is_from_daemon(status) ? take_words(client, status) : status;
}

static anomalyd_status check_run(anomalyd_client *client, const char *what)
{
    anomalyd_status status = check_free(client);
    if (status == ANOMALYD_OK && client->run[0] == '\0')
        status =
            anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "%s needs a run: name one in the options", what);
    return status;
}

anomalyd_status anomalyd_classify(anomalyd_client *client, int64_t step, const char *path, anomalyd_verdict *verdict)
{
    anomalyd_status status;

    if (verdict == NULL)
        return check_client(client) != ANOMALYD_OK
                   ? ANOMALYD_INVALID
                   : anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "verdict is NULL");
    no_verdict(client, step, verdict);
    status = check_free(client);
    if (status == ANOMALYD_OK)
        status = set_path(client, path);
    if (status == ANOMALYD_OK) {
        client->submit_failure = (anomalyd_status)0;
        client->exchange.request.command = ANOMALYD_COMMAND_CLASSIFY;
        anomalyd_exchange_begin(client, step);
        return conclude(client, anomalyd_exchange_drive(client, ANOMALYD_UNTIL_DONE, verdict), verdict);
    }
    verdict->status = status;
    return status;
}

anomalyd_status anomalyd_classify_field(anomalyd_client *client, int64_t step, const void *values, anomalyd_dtype dtype,
                                        int n_extents, const size_t *extents, anomalyd_verdict *verdict)
{
    anomalyd_status status;

    if (verdict == NULL)
        return check_client(client) != ANOMALYD_OK
                   ? ANOMALYD_INVALID
                   : anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "verdict is NULL");
    no_verdict(client, step, verdict);
    status = check_run(client, "judging a field");
    if (status == ANOMALYD_OK)
        status = set_field(client, values, dtype, n_extents, extents);
    if (status == ANOMALYD_OK) {
        client->submit_failure = (anomalyd_status)0;
        client->exchange.request.command = ANOMALYD_COMMAND_CLASSIFY_FIELD;
        anomalyd_exchange_begin(client, step);
        status = anomalyd_exchange_drive(client, ANOMALYD_UNTIL_DONE, verdict);
        client->exchange.request.values = NULL;
        return conclude(client, status, verdict);
    }
    verdict->status = status;
    return status;
}

anomalyd_status anomalyd_submit(anomalyd_client *client, int64_t step, const char *path)
{
    anomalyd_verdict ignored;
    anomalyd_status status = check_free(client);

    if (status != ANOMALYD_OK)
        return status;
    client->submit_failure = (anomalyd_status)0;
    status = set_path(client, path);
    if (status == ANOMALYD_OK) {
        client->exchange.request.command = ANOMALYD_COMMAND_CLASSIFY;
        anomalyd_exchange_begin(client, step);
        no_verdict(client, step, &ignored);
        status = anomalyd_exchange_drive(client, ANOMALYD_UNTIL_SENT, &ignored);
        if (status == ANOMALYD_BUSY)
            return anomalyd_problem_none(&client->problem);
    }
    client->exchange.request.step = step;
    client->submit_failure = status;
    return status;
}

static anomalyd_status fetch(anomalyd_client *client, anomalyd_patience patience, anomalyd_verdict *verdict)
{
    anomalyd_status status;

    if (verdict == NULL)
        return check_client(client) != ANOMALYD_OK
                   ? ANOMALYD_INVALID
                   : anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "verdict is NULL");
    no_verdict(client, client == NULL ? 0 : client->exchange.request.step, verdict);
    if (client != NULL && client->owner == getpid() && client->submit_failure != 0) {
        /* The words of the failure stand: nothing was done with this client since. */
        status = client->submit_failure;
        client->submit_failure = (anomalyd_status)0;
        return conclude(client, status, verdict);
    }
    status = check_client(client);
    if (status == ANOMALYD_OK && !client->exchange.in_flight)
        status = anomalyd_problem_set(&client->problem, ANOMALYD_INVALID, "nothing was submitted");
    if (status != ANOMALYD_OK) {
        verdict->status = status;
        return status;
    }
    status = anomalyd_exchange_drive(client, patience, verdict);
    if (status == ANOMALYD_BUSY) {
        verdict->status = status;
        verdict->acted = 0; /* the policy is for requests that have ended */
        return anomalyd_problem_set(&client->problem, status, "the verdict is not there yet");
    }
    return conclude(client, status, verdict);
}

anomalyd_status anomalyd_poll(anomalyd_client *client, anomalyd_verdict *verdict)
{
    return fetch(client, ANOMALYD_NOT_AT_ALL, verdict);
}

anomalyd_status anomalyd_wait(anomalyd_client *client, anomalyd_verdict *verdict)
{
    return fetch(client, ANOMALYD_UNTIL_DONE, verdict);
}

anomalyd_status anomalyd_set_stream(anomalyd_client *client, const char *stream)
{
    anomalyd_status status = check_client(client);
    const char *name = stream == NULL ? "" : stream;
    size_t length = strlen(name), good = anomalyd_name_span(name);

    if (status != ANOMALYD_OK)
        return status;
    if (length > ANOMALYD_MAX_STREAM)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                    "the stream's name has %lu bytes, the limit is %d", (unsigned long)length,
                                    ANOMALYD_MAX_STREAM);
    if (good < length)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                    "the stream's name is \"%s\": character %lu is none of letters, digits and -_.:",
                                    name, (unsigned long)good + 1);
    memcpy(client->stream, name, length + 1);
    return ANOMALYD_OK;
}

anomalyd_status anomalyd_rewind(anomalyd_client *client, int64_t step)
{
    anomalyd_status status = check_run(client, "rewinding");
    return status == ANOMALYD_OK ? command(client, ANOMALYD_COMMAND_REWIND, step) : status;
}

anomalyd_status anomalyd_label_step(anomalyd_client *client, int64_t step, anomalyd_label label)
{
    anomalyd_status status = check_run(client, "labelling");
    if (status != ANOMALYD_OK)
        return status;
    if (label != ANOMALYD_NORMAL && label != ANOMALYD_ANOMALOUS)
        return anomalyd_problem_set(&client->problem, ANOMALYD_INVALID,
                                    "label is %d, expected ANOMALYD_NORMAL or "
                                    "ANOMALYD_ANOMALOUS",
                                    (int)label);
    memcpy(client->exchange.request.subject, anomalyd_label_name(label), strlen(anomalyd_label_name(label)) + 1);
    return command(client, ANOMALYD_COMMAND_LABEL, step);
}

anomalyd_status anomalyd_ping(anomalyd_client *client)
{
    anomalyd_status status = check_free(client);
    return status == ANOMALYD_OK ? command(client, ANOMALYD_COMMAND_PING, 0) : status;
}

const char *anomalyd_detail(const anomalyd_client *client, size_t *length)
{
    bool any = client != NULL && client->detail_length > 0;
    if (length != NULL)
        *length = any ? client->detail_length : 0;
    return any ? client->detail : "";
}

const unsigned char *anomalyd_heatmap(const anomalyd_client *client, size_t *length)
{
    size_t held = 0;
    const char *bytes = client == NULL ? "" : anomalyd_reply_frame(&client->reply, 10, &held);
    if (length != NULL)
        *length = held;
    return held > 0 ? (const unsigned char *)bytes : NULL;
}

const char *anomalyd_text(const anomalyd_client *client)
{
    return client == NULL ? "" : client->text;
}

const char *anomalyd_last_error(const anomalyd_client *client)
{
    return client == NULL ? anomalyd_open_problem()->words : client->problem.words;
}
