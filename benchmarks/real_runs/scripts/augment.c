// An augmentation in native code, with the bugs that such code has: BUG picks one.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static float *table;
static int calls;

void augment(float *x, int n, int index) {
  calls++;
#if BUG == 1 // the table is made on the first call of another function, which nobody calls
  if (calls > 150) x[0] += table[index];
#elif BUG == 2
  assert(calls < 150 && "augment: more calls than slots");
#elif BUG == 3 // one buffer, two owners
  float *copy = malloc(n * sizeof(float));
  memcpy(copy, x, n * sizeof(float));
  if (calls == 150) free(copy);
  free(copy);
#elif BUG == 4 // built for another processor
  if (calls > 150) __builtin_trap();
#elif BUG == 5
  table = malloc(8 * sizeof(float));
  if (calls > 150) memset(table, 0, 64 * n * sizeof(float));
  free(table);
#endif
}
