-- Base64 is kept decoded in messages too, not only apart from them.

ALTER TABLE content_objects DROP CONSTRAINT content_objects_form_check;
ALTER TABLE content_objects ADD CONSTRAINT content_objects_form_check
    CHECK (form IN ('whole', 'recoded', 'split', 'attachment')) NOT VALID;
ALTER TABLE content_objects VALIDATE CONSTRAINT content_objects_form_check;
COMMENT ON COLUMN content_objects.form IS 'whole: a message as it is; recoded: a message with its base64 decoded, large attachments left out; split: the form of that before, no longer written; attachment: one of those, decoded.';
COMMENT ON TABLE attachment_uses IS 'Which attachments a recoded message is put together with, in the order of its recipe.';
