// The one source file of longlora_torch_pch, whose precompiled torch.h every trainer target uses.
namespace longlora::trainer {}
