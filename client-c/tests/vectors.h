/* Reads proto/vectors.txt, whose head describes its format. */
#ifndef VECTORS_H
#define VECTORS_H

#include <stddef.h>

#define MAX_VECTOR_FRAMES 24

typedef struct bytes {
    unsigned char *data; /* with a NUL after it */
    size_t length;
} bytes;

typedef struct vector {
    char name[80], message[16], expect[16], roundtrip[8];
    bytes frames[MAX_VECTOR_FRAMES];
    size_t n_frames;
    /* The meaning, as far as a client can be asked for it; words are empty where the vector has none. */
    char command[16], deadline_ms[16], step[32], kind[16];
    bytes run, subject, options[16];
    size_t n_options;
    char status[8], verdict[16], score[64], threshold[64];
    bytes instance, text, detail, heat_map;
} vector;

/* Reads the next vector; 0 at the end. Ends the test where the file is not as described. */
int vectors_next(vector *read);
void vectors_free(vector *read);
/* Begins at the first vector. */
void vectors_rewind(void);

#endif
