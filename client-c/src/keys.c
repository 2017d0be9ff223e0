/* CURVE keys; see keys.h. A file holds key=value lines (public_key, secret_key, server_public_key; values may be
 * quoted), as the daemon's keygen and CZMQ certificates do, or a bare public key. */
#include "keys.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <zmq.h>

#define MAX_FILE 16384

static bool is_key(const char *text)
{
    uint8_t binary[32];
    return strlen(text) == ANOMALYD_KEY_SIZE - 1 && zmq_z85_decode(binary, text) != NULL;
}

/* Cuts blanks and quotes from both ends, in place. */
static char *strip(char *text)
{
    size_t length;
    text += strspn(text, " \t\"");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r\"", text[length - 1]) != NULL)
        text[--length] = '\0';
    return text;
}

/* Whether `found` is `name`, where CZMQ writes a hyphen for the underscore. */
static bool is_name(const char *found, const char *name)
{
    for (; *found != '\0' && *name != '\0'; ++found, ++name)
        if (*found != *name && !(*found == '-' && *name == '_'))
            return false;
    return *found == *name;
}

/* Copies the last value of `name`, or a line that is nothing but a key if `name` is NULL; false if there is none. */
static bool find(const char *text, const char *name, char key[ANOMALYD_KEY_SIZE])
{
    bool found = false;

    while (*text != '\0') {
        char line[256];
        size_t length = strcspn(text, "\n");
        if (length < sizeof line) {
            char *value;
            memcpy(line, text, length);
            line[length] = '\0';
            value = strchr(line, '=');
            if (name == NULL) {
                value = strip(line); /* Z85 has '=' among its characters */
            } else if (value != NULL) {
                *value++ = '\0';
                value = is_name(strip(line), name) ? strip(value) : NULL;
            }
            if (value != NULL && is_key(value)) {
                memcpy(key, value, ANOMALYD_KEY_SIZE);
                found = true;
            }
            anomalyd_keys_wipe_bytes(line, sizeof line);
        }
        text += length;
        if (*text == '\n')
            ++text;
    }
    return found;
}

static anomalyd_status read_text(const char *path, char *text, bool private_only, anomalyd_problem *problem)
{
    int failure = anomalyd_read_small_file(path, text, MAX_FILE, private_only);

    if (failure == EPERM && private_only)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID, "key file %s can be read by others: chmod 600 it", path);
    if (failure == EINVAL || failure == EFBIG)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID,
                                    "%s is not a key file: expected a regular file below %d "
                                    "bytes",
                                    path, MAX_FILE);
    if (failure != 0)
        return anomalyd_problem_set(problem, ANOMALYD_INVALID, "key file %s cannot be read: %s", path,
                                    strerror(failure));
    return ANOMALYD_OK;
}

anomalyd_status anomalyd_keys_read_pair(const char *path, anomalyd_keys *keys, anomalyd_problem *problem)
{
    char text[MAX_FILE];
    anomalyd_status status = read_text(path, text, true, problem);

    if (status == ANOMALYD_OK &&
        (!find(text, "public_key", keys->public_key) || !find(text, "secret_key", keys->secret_key)))
        status = anomalyd_problem_set(problem, ANOMALYD_INVALID,
                                      "key file %s: expected lines public_key=... and "
                                      "secret_key=... with 40 characters of Z85 each",
                                      path);
    anomalyd_keys_wipe_bytes(text, sizeof text);
    return status;
}

anomalyd_status anomalyd_keys_read_server(const char *path, anomalyd_keys *keys, anomalyd_problem *problem)
{
    char text[MAX_FILE];
    anomalyd_status status = read_text(path, text, false, problem);

    if (status == ANOMALYD_OK && !find(text, "server_public_key", keys->server) &&
        !find(text, "public_key", keys->server) && !find(text, NULL, keys->server))
        status = anomalyd_problem_set(problem, ANOMALYD_INVALID,
                                      "key file %s: expected a line server_public_key=... with "
                                      "40 characters of Z85",
                                      path);
    return status;
}

anomalyd_status anomalyd_keys_make_pair(anomalyd_keys *keys, anomalyd_problem *problem)
{
    if (zmq_has("curve") == 0 || zmq_curve_keypair(keys->public_key, keys->secret_key) != 0)
        return anomalyd_problem_set(problem, ANOMALYD_SYSTEM,
                                    "this libzmq was built without CURVE: install one that was "
                                    "built with libsodium");
    return ANOMALYD_OK;
}

void anomalyd_keys_wipe_bytes(void *bytes, size_t length)
{
    volatile unsigned char *at = bytes;
    while (length-- > 0)
        *at++ = 0;
}
