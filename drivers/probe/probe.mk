PROBE_SOURCES := $(wildcard probe/*.c)
PROBE_OBJECTS := $(patsubst probe/%.c,$(BUILD)/probe/%.o,$(PROBE_SOURCES))

$(BUILD)/probe/%.o: probe/%.c $(wildcard probe/*.h probe/*.inc) $(wildcard include/*.h)
	@mkdir -p $(@D)
	$(CC) $(COMMON) -D_WIN32_WINNT=0x0A00 -c $< -o $@

$(BUILD)/wfpprobe.exe: $(PROBE_OBJECTS)
	$(CC) -static $(LDREPRO) $(PROBE_OBJECTS) -lws2_32 -ladvapi32 -o $@
