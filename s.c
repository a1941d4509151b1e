#include <microkit.h>
void init(void){}
void notified(microkit_channel ch){ }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo m){ return microkit_msginfo_new(0, microkit_msginfo_get_count(m)); }
