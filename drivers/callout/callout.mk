CALLOUT_SOURCES := $(wildcard callout/*.c)
CALLOUT_OBJECTS := $(patsubst callout/%.c,$(BUILD)/callout/%.o,$(CALLOUT_SOURCES))
CALLOUT_CFLAGS  := $(COMMON) -Iinclude/mingw \
                   -fno-stack-protector -mno-red-zone
CALLOUT_LDFLAGS := -nostdlib -shared -Wl,--subsystem,native -Wl,--entry,DriverEntry -Wl,--image-base,0x140000000 \
                   -Wl,--dynamicbase -Wl,--nxcompat -Wl,--exclude-all-symbols $(LDREPRO)

$(BUILD)/callout/%.o: callout/%.c $(wildcard callout/*.h) $(wildcard include/*.h) $(wildcard include/mingw/*.h)
	@mkdir -p $(@D)
	$(CC) $(CALLOUT_CFLAGS) -c $< -o $@

$(BUILD)/wfpcallout.sys: $(CALLOUT_OBJECTS) $(BUILD)/libfwpkclnt.a $(BUILD)/libndis.a
	$(CC) $(CALLOUT_LDFLAGS) $(CALLOUT_OBJECTS) -L$(BUILD) -lfwpkclnt -lndis -lntoskrnl -lhal -o $@
