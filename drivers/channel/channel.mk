# The json of the probe, without its sockets: nothing here may need the network.
CHANNEL_OBJECTS := $(BUILD)/channel/channel.o $(BUILD)/channel/files.o $(BUILD)/probe/json.o

$(BUILD)/channel/%.o: channel/%.c channel/channel.h probe/json.h
	@mkdir -p $(@D)
	$(CC) $(COMMON) -Iprobe -D_WIN32_WINNT=0x0A00 -c $< -o $@

$(BUILD)/wfpchannel.exe: $(CHANNEL_OBJECTS)
	$(CC) -static -municode $(LDREPRO) $(CHANNEL_OBJECTS) -ladvapi32 -lbcrypt -liphlpapi -lpsapi -lws2_32 -o $@
